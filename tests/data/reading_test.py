"""Videos of many formats, read in parts, beside all of their frames."""

import io

import av
import imageio.v3 as iio
import numpy as np
import PIL.Image
import pytest

from keras_stts.data import decoding
from keras_stts.data import index_video
from keras_stts.data import read_video
from keras_stts.data import resize_frames
from keras_stts.data import sample_indices
from keras_stts.data.video import choose
from tests.data.video_test import ffmpeg

pytestmark = pytest.mark.once

FORMATS = {
    "b_frames.mp4": "-c:v libx264 -bf 3 -g 12",
    "open_gop.mp4": "-c:v libx264 -x264-params open-gop=1:keyint=10:bframes=3",
    "intra.mp4": "-c:v libx264 -g 1",
    "fragmented.mp4": "-c:v libx264 -g 20 -movflags frag_keyframe+empty_moov",
    "h265.mp4": "-c:v libx265 -x265-params log-level=none:keyint=15",
    "b_frames.mkv": "-c:v libx264 -bf 3 -g 12",
    "b_frames.ts": "-c:v libx264 -bf 3 -g 12",
    "vp8.webm": "-c:v libvpx -g 15 -auto-alt-ref 1 -lag-in-frames 10",
    "vp9.webm": "-c:v libvpx-vp9 -g 15 -b:v 100k",
    "mpeg4.avi": "-c:v mpeg4 -bf 2 -g 12",
    "mpeg4.mp4": "-c:v mpeg4 -bf 2 -g 12",
    "mjpeg.mov": "-c:v mjpeg",
    "mjpeg.avi": "-c:v mjpeg",
    "mpeg1.mpg": "-c:v mpeg1video -bf 2",
    "flash.flv": "-c:v flv",
    "raw.h264": "-c:v libx264 -bf 2",
    "animated.gif": "",
    "interlaced.ts": "-c:v mpeg2video -flags +ilme+ildct -bf 2",
    "ten_bit.mp4": "-c:v libx264 -pix_fmt yuv420p10le",
    "grey.mp4": "-c:v libx264 -pix_fmt gray",
    "full_colour.mp4": "-c:v libx264 -pix_fmt yuv444p",
    "alpha.webm": "-c:v libvpx-vp9 -pix_fmt yuva420p",
    "odd.mkv": "-vf scale=47:33:flags=neighbor -c:v ffv1 -pix_fmt rgb24",
}


def write(path, options, size="64x48", rate=25, seconds=4, source="testsrc2"):
    text = f"{source}=size={size}:rate={rate}:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", text, *options.split(), path)
    return path


def everything(path):
    """All frames of a file, and their seconds or `None`."""
    frames, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(frame.time)
    if None not in times:
        times = np.array(times) - times[0]
    return np.stack(frames), times


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("num_frames", [3, 13])
def test_equals_decoding_everything(tmp_path, name, num_frames):
    path = write(tmp_path / name, FORMATS[name])
    frames, times = everything(path)
    ours, seconds = read_video(
        path, num_frames, 100.0, sampling="uniform_last_frame"
    )
    fps = index_video(path).fps
    chosen = sample_indices(
        len(frames), fps, num_frames, 100.0, "uniform_last_frame"
    )
    np.testing.assert_array_equal(ours, frames[chosen])
    if None not in times:
        np.testing.assert_allclose(seconds, times[chosen], atol=1e-9)


def test_the_plugin_gives_the_same(tmp_path):
    path = write(tmp_path / "a.mp4", FORMATS["b_frames.mp4"])
    theirs = iio.imread(path, plugin="pyav")
    ours, _ = read_video(path, 8, sampling="uniform_last_frame")
    chosen = sample_indices(len(theirs), 25.0, 8, rule="uniform_last_frame")
    np.testing.assert_array_equal(ours, theirs[chosen])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.filterwarnings("ignore:.*where its header says")
def test_variable_frame_rate(tmp_path, name):
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    # A second in full, then every tenth frame.
    choice = "lt(n\\,20)+not(mod(n\\,10))"
    options = f"-vf select={choice} -fps_mode vfr -c:v {codec}"
    path = write(tmp_path / name, options)
    frames, times = everything(path)
    assert len(frames) == 28
    index = index_video(path)
    np.testing.assert_allclose(index.times, times, atol=1e-9)
    assert np.diff(times).max() > 5 * np.diff(times).min()
    assert index.fps == pytest.approx(28 / 3.64)
    ours, seconds = read_video(path, 5, sampling="uniform_last_frame")
    chosen = sample_indices(28, index.fps, 5, rule="uniform_last_frame")
    np.testing.assert_array_equal(ours, frames[chosen])
    np.testing.assert_allclose(seconds, times[chosen], atol=1e-9)


def test_little_is_decoded(tmp_path, monkeypatch):
    options = "-c:v libx264 -g 20 -bf 2 -x264-params b-pyramid=none"
    path = write(tmp_path / "a.mp4", options, seconds=40)
    frames, _ = everything(path)
    decoded = []
    original = decoding.decode

    def counting(*args):
        for frame in original(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(decoding, "decode", counting)
    ours, _ = read_video(path, 8, 1.0, sampling="uniform_last_frame")
    chosen = sample_indices(1000, 25.0, 8, 1.0, "uniform_last_frame")
    np.testing.assert_array_equal(ours, frames[chosen])
    # Of a thousand; of three frames two are not needed by others.
    assert len(decoded) <= 8 * (20 / 3 + 4)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation(tmp_path, degrees):
    plain = write(tmp_path / "a.mp4", "-c:v libx264 -g 5")
    turned = ffmpeg(
        "-display_rotation", degrees, "-i", plain, "-c", "copy",
        tmp_path / "b.mp4",
    )  # fmt: skip
    frames, _ = read_video(plain, 4)
    upright, _ = read_video(turned, 4)
    wanted = np.rot90(frames, degrees // 90, axes=(1, 2))
    np.testing.assert_array_equal(upright, wanted)


def test_bytes_and_file_objects(tmp_path):
    path = write(tmp_path / "a.mp4", FORMATS["b_frames.mp4"])
    frames, times = read_video(path, 6)
    data = path.read_bytes()
    with open(path, "rb") as file:
        for source in (data, io.BytesIO(data), file):
            ours, seconds = read_video(source, 6)
            np.testing.assert_array_equal(ours, frames)
            np.testing.assert_array_equal(seconds, times)
    np.testing.assert_array_equal(read_video(str(path).encode(), 6)[0], frames)
    with pytest.raises(ValueError, match="bytes'?, which is not a video"):
        read_video(b"\0" * 1000, 6)


def test_resized_while_reading(tmp_path):
    path = write(tmp_path / "a.mp4", FORMATS["b_frames.mp4"])
    frames, _ = read_video(path, 6)
    small, _ = read_video(path, 6, size=(20, 30))
    np.testing.assert_array_equal(small, resize_frames(frames, (20, 30)))


@pytest.mark.parametrize("name", ["b_frames.mp4", "raw.h264", "animated.gif"])
def test_in_parts(tmp_path, name):
    path = write(tmp_path / name, FORMATS[name])
    sizes = []

    def half(frame, number):
        sizes.append(number)
        return resize_frames(frame[None], (24, 32))[0]

    options = {"max_fps": 100, "sampling": "uniform_last_frame", "size": half}
    for source in (path, path.read_bytes()):
        wanted = read_video(source, 11, **options)
        chosen = choose(source, 11, **options)
        assert chosen.shape == (11, 24, 32)
        parts = [chosen.read(first, first + 4) for first in (0, 4, 8)]
        assert [len(part.frames) for part in parts] == [4, 4, 3]
        for whole, pieces in zip(wanted, zip(*parts)):
            np.testing.assert_array_equal(whole, np.concatenate(pieces))
        assert {part.size for part in parts} == {wanted.size}
    assert set(sizes) == {11}  # Of the video, not of a part of it.


def test_parts_of_frames_that_are_shown_twice(tmp_path):
    path = write(tmp_path / "a.mp4", FORMATS["b_frames.mp4"], seconds=1)
    options = {"max_fps": 100, "sampling": "molmo2"}
    wanted, chosen = (
        read_video(path, 40, **options),
        choose(path, 40, **options),
    )
    parts = [chosen.read(first, first + 7).frames for first in range(0, 40, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), wanted.frames)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 20, 30, 3), "uint8")


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
def test_animated_images(tmp_path, pictures, suffix):
    path = tmp_path / f"a{suffix}"
    images = [PIL.Image.fromarray(frame) for frame in pictures]
    durations = [100] * 8 + [300] * 4
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=durations,
        lossless=True,
    )
    frames, times = read_video(path, 4, sampling="uniform_last_frame")
    wanted = np.cumsum([0] + durations[:-1]) / 1000
    with PIL.Image.open(path) as image:
        shown = []
        for i in range(12):
            image.seek(i)
            shown.append(np.asarray(image.convert("RGB")))
    rate = 12 / 2.0
    chosen = sample_indices(12, rate, 4, rule="uniform_last_frame")
    np.testing.assert_allclose(times, wanted[chosen], atol=1e-6)
    np.testing.assert_array_equal(frames, np.stack(shown)[chosen])
    frames, _ = read_video(path.read_bytes(), 4, size=8)
    assert frames.shape == (4, 8, 8, 3)


def test_one_picture_is_a_video_of_one_frame(tmp_path, pictures):
    for suffix in ("webp", "png", "jpg", "gif"):
        path = tmp_path / f"a.{suffix}"
        PIL.Image.fromarray(pictures[0]).save(path)
        frames, times = read_video(path, 8)
        assert frames.shape == (1, 20, 30, 3) and times.tolist() == [0.0]


def test_folder_of_images(tmp_path, pictures):
    for i, frame in enumerate(pictures):
        PIL.Image.fromarray(frame).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    frames, times = read_video(tmp_path, 64)
    np.testing.assert_array_equal(frames, pictures)
    np.testing.assert_allclose(times, np.arange(12) / 2)
    frames, times = read_video(tmp_path, 64, fps=4)
    np.testing.assert_array_equal(frames, pictures[::2])
    np.testing.assert_allclose(times, np.arange(6) / 2)
    PIL.Image.fromarray(pictures[0, :10]).save(tmp_path / "frame3.png")
    with pytest.raises(ValueError, match=r"changes its size from \(20, 30\)"):
        read_video(tmp_path, 64)
    assert read_video(tmp_path, 64, size=8)[0].shape == (12, 8, 8, 3)
    (tmp_path / "frame5.png").write_bytes(b"")
    with pytest.raises(ValueError, match="frame5.png"):
        read_video(tmp_path, 64, size=8)


def test_gigantic_sizes_are_refused(tmp_path):
    path = write(tmp_path / "a.avi", "-c:v mjpeg", seconds=1)
    data = path.read_bytes()
    start = data.index(b"\xff\xc0")  # Where a JPEG tells height and width.
    head = data[start : start + 5]
    size = (60000).to_bytes(2, "big") * 2
    path.write_bytes(data.replace(data[start : start + 9], head + size))
    with pytest.raises(ValueError, match="more than|truncated or damaged"):
        read_video(path, 4)


@pytest.mark.parametrize("name", ["b_frames.mp4", "animated.gif", "raw.h264"])
def test_a_clip_is_a_video_of_its_own(tmp_path, name):
    path = write(tmp_path / name, FORMATS[name])
    frames, times = everything(path)
    if None in times:
        times = np.arange(len(frames)) / index_video(path).fps
    first, last = np.searchsorted(times, (1.0, 2.5))
    last += times[last] == 2.5
    ours, seconds = read_video(path, 5, 100.0, clip=(1.0, 2.5))
    chosen = first + sample_indices(last - first, index_video(path).fps, 5, 100)
    np.testing.assert_array_equal(ours, frames[chosen])
    np.testing.assert_allclose(seconds, times[chosen] - times[first], atol=1e-6)
    assert seconds[0] == 0
    to_the_end, _ = read_video(path, 5, 100.0, clip=(0, 99))
    np.testing.assert_array_equal(to_the_end, read_video(path, 5, 100.0)[0])
    with pytest.raises(ValueError, match="no frame from 8 to 9 s.*`clip`"):
        read_video(path, 5, clip=(8, 9))


def test_a_clip_of_a_folder(tmp_path, pictures):
    for i, frame in enumerate(pictures):
        PIL.Image.fromarray(frame).save(tmp_path / f"frame{i}.png")
    frames, times = read_video(tmp_path, 9, 9.0, fps=3, clip=(1, 2))
    np.testing.assert_array_equal(frames, pictures[3:7])
    np.testing.assert_allclose(times, np.arange(4) / 3)
