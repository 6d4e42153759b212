"""Whole videos whose headers are wrong, and cut ones that are caught."""

import re
import warnings

import numpy as np
import PIL.Image
import pytest

from keras_stts.data import index_video
from keras_stts.data import read_video
from keras_stts.data import sampled_times
from tests.data.reading_test import everything
from tests.data.reading_test import write
from tests.data.video_test import ffmpeg

pytestmark = pytest.mark.once

ALL = {"num_frames": 10**4, "max_fps": 10**4}
X264 = "-c:v libx264 -preset ultrafast -bf 2 -g 12"
HELD = "-vf setpts=if(eq(N\\,24)\\,N+250\\,N)/25/TB -fps_mode vfr"
DROPPED = "-vf select=not(mod(n\\,5)) -fps_mode vfr"


def copied(path, name, *options):
    return ffmpeg(*options, "-i", path, "-c", "copy", path.with_name(name))


def as_mkv_of_ts(folder):
    path = write(folder / "a.ts", X264, seconds=1)
    return copied(path, "a.mkv")


def late_mkv(folder):
    path = write(folder / "a.mkv", X264, seconds=1)
    ffmpeg("-i", path, "-c", "copy", "-output_ts_offset", 7, folder / "b.mkv")
    return folder / "b.mkv"


def late_webm(folder):
    options = "-c:v libvpx-vp9 -deadline realtime -output_ts_offset 7"
    return write(folder / "a.webm", options, seconds=1)


def held(name):
    return lambda folder: write(folder / name, f"{HELD} {X264}", seconds=1)


def held_gif(folder):
    return write(folder / "a.gif", "-final_delay 500", seconds=1)


def held_gif_as_mkv(folder):
    return copied(held_gif(folder), "a.mkv")


def dropped_avi(folder):
    return write(folder / "a.avi", f"{DROPPED} -c:v mpeg4", seconds=2)


def plain_avi(folder):
    options = "-vf select=lt(n\\,20)+gt(n\\,30) -c:v mpeg4"
    return write(folder / "a.avi", options, seconds=2)


def longer_sound(name):
    def make(folder):
        picture = "testsrc2=size=64x48:rate=25:duration=1"
        sound = "libmp3lame" if name.endswith((".avi", ".flv")) else "aac"
        return ffmpeg(
            "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i",
            "sine=duration=4:r=44100", *X264.split(), "-c:a", sound,
            folder / name,
        )  # fmt: skip

    return make


def joined_ts(folder):
    """As segments of a stream that were downloaded and put together."""
    options = f"{X264} -f segment -segment_time 0.4"
    write(folder / "%d.ts", options, seconds=1)
    data = b"".join((folder / f"{i}.ts").read_bytes() for i in range(3))
    (folder / "a.ts").write_bytes(data)
    return folder / "a.ts"


def trimmed(folder):
    path = write(folder / "a.mp4", X264, seconds=2)
    return copied(path, "b.mp4", "-ss", "0.7")


def with_junk(folder):
    path = write(folder / "a.mkv", X264, seconds=1)
    path.write_bytes(path.read_bytes() + bytes(range(256)) * 9)
    return path


WHOLE = {
    "mkv of a ts": (as_mkv_of_ts, 25),
    "mkv that begins late": (late_mkv, 25),
    "webm that begins late": (late_webm, 25),
    "last picture held, mp4": (held("a.mp4"), 25),
    "last picture held, mkv": (held("a.mkv"), 25),
    "last picture held, gif": (held_gif, 25),
    "last picture held, gif as mkv": (held_gif_as_mkv, 25),
    "frames dropped, avi": (dropped_avi, 10),
    "gap, avi": (plain_avi, 39),
    "longer sound, mp4": (longer_sound("a.mp4"), 25),
    "longer sound, mkv": (longer_sound("a.mkv"), 25),
    "longer sound, avi": (longer_sound("a.avi"), 25),
    "longer sound, flv": (longer_sound("a.flv"), 25),
    "longer sound, ts": (longer_sound("a.ts"), 25),
    "longer sound, mov": (longer_sound("a.mov"), 25),
    "segments of a ts, joined": (joined_ts, 25),
    "trimmed mp4": (trimmed, 34),
    "mkv with junk behind it": (with_junk, 25),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.filterwarnings("ignore:.*where its header says")
def test_whole_videos_are_read(tmp_path, name):
    make, count = WHOLE[name]
    path = make(tmp_path)
    frames, times = read_video(path, **ALL)
    wanted, seconds = everything(path)
    assert abs(len(wanted) - count) <= 2
    np.testing.assert_array_equal(frames, wanted)
    # AVI numbers frames in the order of decoding.
    np.testing.assert_allclose(times, np.sort(seconds), atol=1e-3)
    np.testing.assert_array_equal(sampled_times(path, **ALL), times)


def test_a_header_that_promises_more_is_warned_of_once(tmp_path):
    path = write(tmp_path / "a.webm", CONTAINERS["a.webm"], seconds=1)
    data = path.read_bytes()
    ends = b"00:00:01.000000000"
    assert ends in data
    path.write_bytes(data.replace(ends, b"00:01:00.000000000"))
    for read in (read_video, sampled_times):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read(path, **ALL)
        (said,) = caught
        message = "a.webm' has 1.0 s of pictures where its header says 60.0 s"
        assert message in str(said.message)


CONTAINERS = {
    "a.mp4": f"{X264} -movflags faststart",
    "a.mkv": X264,
    "a.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 12",
    "a.avi": "-c:v mpeg4 -g 12",
    "a.ts": X264,
    "a.gif": "",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_sixty_cut_files_are_all_named(tmp_path, name):
    options = {"size": "320x240", "seconds": 2}
    data = write(tmp_path / name, CONTAINERS[name], **options).read_bytes()
    path = tmp_path / f"cut_{name}"
    for tenth in range(10):
        # Between the bytes of a head and one byte less than all.
        share = 0.05 + 0.1 * tenth
        path.write_bytes(data[: int(len(data) * share)])
        for read in (read_video, sampled_times):
            with pytest.raises(ValueError, match=f"cut_{name}', which"):
                read(path, **ALL)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=f"cut_{name}', which"):
        read_video(path, **ALL)


@pytest.mark.parametrize("packets", [1, 7, 40])
def test_ts_that_ends_between_two_packets(tmp_path, packets):
    size = {"size": "320x240", "seconds": 1}
    data = write(tmp_path / "a.ts", X264, **size).read_bytes()
    path = tmp_path / "b.ts"
    # The last packets of a stream, in the middle of a frame.
    path.write_bytes(data[: len(data) // 188 * 188 - 188 * packets])
    with pytest.raises(ValueError, match="b.ts', which"):
        read_video(path, **ALL)


ZONES = {
    "a.mkv": X264,
    "a.webm": CONTAINERS["a.webm"],
    "a.avi": "-c:v mpeg4 -g 12",
    "a.ts": X264,
    "a.gif": "",
    "a.mp4": X264,
}
CERTAIN = ("a.mkv", "a.avi", "a.ts", "a.gif", "a.mp4")


@pytest.mark.parametrize("name", ZONES)
def test_zones_of_zeros_are_said(tmp_path, name):
    options = {"size": "320x240", "seconds": 2}
    whole = write(tmp_path / name, ZONES[name], **options)
    wanted = read_video(whole, **ALL)
    data = whole.read_bytes()
    path = tmp_path / f"zeros_{name}"
    for tenth in range(2, 10):  # Not colours, of which some may be black.
        spoilt, start = bytearray(data), len(data) * tenth // 10
        spoilt[start : start + len(data) // 20] = bytes(len(data) // 20)
        path.write_bytes(spoilt)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                frames, _ = read_video(path, **ALL)
            except ValueError as error:
                assert f"zeros_{name}" in str(error)
                continue
        assert caught or np.array_equal(frames, wanted.frames)


@pytest.mark.parametrize("name", CERTAIN)
def test_what_is_left_is_read_with_a_warning(tmp_path, name):
    options = {"size": "320x240", "seconds": 2}
    whole = write(tmp_path / name, ZONES[name], **options)
    _, seconds = read_video(whole, **ALL)
    data = bytearray(whole.read_bytes())
    path = tmp_path / f"zeros_{name}"
    start = len(data) // 2
    data[start : start + len(data) // 20] = bytes(len(data) // 20)
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match='or read what is left with on_error="'
    ):
        read_video(path, **ALL)
    with pytest.warns(UserWarning, match=f"zeros_{name}' is"):
        frames, times = read_video(path, on_error="warn", **ALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = sampled_times(path, on_error="warn", **ALL)
        index_video(path, on_error="warn")
    np.testing.assert_array_equal(times, asked)
    assert len(frames) == len(times) >= len(seconds) // 3
    assert times[0] == 0 and times[-1] <= seconds[-1] + 1
    with pytest.raises(ValueError, match="`on_error` must be .*raise, warn"):
        read_video(path, 4, on_error="skip")


def test_times_never_run_to_hours(tmp_path):
    path = write(tmp_path / "a.ts", X264, seconds=1)
    data = bytearray(path.read_bytes())
    # The time of showing of a frame is in the head of its packet.
    starts = [
        m.start()
        for m in re.finditer(rb"\x00\x00\x01\xe0..[\x80-\x8f]\xc0", data)
    ]
    data[starts[12] + 9] |= 0x0E
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        times = sampled_times(path, on_error="warn", **ALL)
        read = read_video(path, on_error="warn", **ALL)
    assert caught
    assert times[-1] < 10
    np.testing.assert_array_equal(times, read.times)


# Orientation


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [(), ("-display_hflip",), ("-display_vflip",)])
def test_all_orientations(tmp_path, suffix, degrees, flip):
    plain = write(tmp_path / f"a.{suffix}", X264, rate=5, seconds=1)
    path = tmp_path / f"b.{suffix}"
    ffmpeg(
        "-display_rotation", degrees, *flip, "-i", plain, "-c", "copy", path
    )  # fmt: skip
    ffmpeg("-i", path, "-pix_fmt", "rgb24", "-fps_mode", "passthrough",
           tmp_path / "%d.png")  # fmt: skip
    shown = [PIL.Image.open(tmp_path / f"{i}.png") for i in range(1, 6)]
    frames, _ = read_video(path, **ALL)
    np.testing.assert_array_equal(frames, np.stack(shown))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_as_a_video_stands_upright(tmp_path, orientation):
    smooth = np.add.outer(np.arange(0, 240, 5), np.arange(0, 15)).astype(
        "uint8"
    )
    picture = np.stack([smooth, smooth[::-1], np.full_like(smooth, 60)], -1)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(picture).save(path, exif=exif, quality=95)
    with PIL.Image.open(path) as image:
        wanted = PIL.ImageOps.exif_transpose(image).convert("RGB")
    frames, _ = read_video(path, 1)
    assert frames.shape[1:] == np.shape(wanted)
    assert np.abs(frames[0].astype(int) - wanted).mean() < 3


# The grid and the fuzzer, in small


def test_a_part_of_the_grid(tmp_path):
    from benchmarks import reading_grid

    chosen = list(reading_grid.cases())
    assert len(chosen) >= 600
    rows, faults = reading_grid.run(chosen[5::31], tmp_path)
    text, total = reading_grid.table(rows)
    assert not faults, text
    assert total["equal"] == total["files"] >= 20


def test_a_part_of_the_fuzzing(tmp_path):
    from benchmarks import fuzz_videos

    rows = fuzz_videos.run(7, 3, tmp_path)
    text, total = fuzz_videos.table(rows)
    assert total["inputs"] == 7 * len(fuzz_videos.SEEDS), text
    for name in ("silent", "crashed", "hung", "disagree"):
        assert total[name] == 0, text
