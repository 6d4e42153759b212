"""A video beside what is seen of it, with its sound."""

import av
import numpy as np
import pytest

from keras_stts import visualize

pytestmark = pytest.mark.once
SIZE, FRAMES, RATE = (48, 62), 12, 12  # A second, of an odd width doubled.


def write(path, *, sound="aac", codec="libx264"):
    """A clip whose frames get brighter, with a tone."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        audio = sound and output.add_stream(sound, rate=48000, layout="mono")
        for i in range(FRAMES):
            pixels = np.full((*SIZE, 3), 20 * i, "uint8")
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound:
            tone = np.sin(np.arange(48000) / 20).astype("float32")[None]
            kind = "s16" if sound.startswith("pcm") else "fltp"
            tone = (tone * 9000).astype("int16") if kind == "s16" else tone
            for start in range(0, 48000, 1000):
                part = np.ascontiguousarray(tone[:, start : start + 1000])
                made = av.AudioFrame.from_ndarray(part, kind, layout="mono")
                made.sample_rate, made.pts = 48000, start
                output.mux(audio.encode(made))
            output.mux(audio.encode(None))
    return path


def packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        found = [p for p in container.demux(stream) if p.size]
        times = [float(p.pts * p.time_base) for p in found]
        return [bytes(p) for p in found], times, stream.codec_context.name


def pictures(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        arrays = [frame.to_ndarray(format="rgb24") for frame in frames]
        return np.stack(arrays).astype(int), [frame.time for frame in frames]


def seen(**changes):
    """As a model that sees two of the frames and keeps their left half."""
    frames = np.stack([np.full((*SIZE, 3), v, "uint8") for v in (0, 120)])
    return {
        "frames": frames,
        "timestamps": np.array([0.0, 0.5]),
        "kept": np.array([[True, False]] * 2),
        "grid": (1, 2),
        "scores": None,
        "groups": None,
        "patch_grid": (4, 6),
        **changes,
    }


def test_sound_times_and_size_are_those_of_the_video(tmp_path):
    clip, path = write(tmp_path / "clip.mp4"), tmp_path / "both.mp4"
    visualize.write_side_by_side(path, clip, seen())
    assert packets(path)[0] == packets(clip)[0]  # Copied, byte for byte.
    np.testing.assert_allclose(packets(path)[1], packets(clip)[1], atol=1e-3)
    both, times = pictures(path)
    alone, wanted = pictures(clip)
    np.testing.assert_allclose(times, wanted, atol=1e-3)
    height, width = SIZE
    assert both.shape == (FRAMES, height, 2 * width + 8, 3)
    assert np.abs(both[:, :, :width] - alone).mean() < 5
    # What is seen stays until the next frame that the model sees.
    left, right = both[:, 10:-10, width + 16 : width + 31], both[:, :, -24:-8]
    assert np.abs(left[:6]).mean() < 12 and np.abs(left[6:] - 120).mean() < 12
    dim = visualize.overlay(
        seen()["frames"], seen()["kept"], (1, 2), stripes=True
    )
    assert np.abs(right[7] - dim[1, :, -24:-8]).mean() < 14


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("a.avi", "mpeg4", "libmp3lame"), ("a.webm", "libvpx", "libopus")],
)
def test_other_containers(tmp_path, name, codec, sound):
    clip = write(tmp_path / name, sound=sound, codec=codec)
    visualize.write_side_by_side(tmp_path / "both.mkv", clip, seen())
    both, times = pictures(tmp_path / "both.mkv")
    alone, wanted = pictures(clip)
    assert len(both) == len(alone) == FRAMES
    np.testing.assert_allclose(times, wanted, atol=2e-3)
    assert packets(tmp_path / "both.mkv")[0] == packets(clip)[0]


def test_a_file_without_times_is_refused(tmp_path):
    clip = write(tmp_path / "a.h264", sound=None)
    with pytest.raises(ValueError, match="lacks the times of its frames"):
        visualize.write_side_by_side(tmp_path / "both.mp4", clip, seen())
    assert not (tmp_path / "both.mp4").exists()


def test_merged_patches_are_painted(tmp_path):
    clip, path = write(tmp_path / "clip.mp4", sound=None), tmp_path / "a.MOV"
    groups = np.zeros((2, 24), "int32")
    visualize.write_side_by_side(path, clip, seen(groups=groups))
    both, _ = pictures(path)
    assert np.abs(both[9, 4:-4, SIZE[1] + 20 : -8] - 120).mean() < 5


def test_what_does_not_fit(tmp_path):
    clip, path = write(tmp_path / "clip.mp4"), tmp_path / "both.mp4"
    with pytest.raises(ValueError, match="must end in .mp4, .mkv, .mov.*a.gif"):
        visualize.write_side_by_side(tmp_path / "a.gif", clip, seen())
    other = seen(frames=np.zeros((2, 20, 20, 3), "uint8"))
    with pytest.raises(ValueError, match="of the same video.*48, 62.*20, 20"):
        visualize.write_side_by_side(path, clip, other)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        visualize.write_side_by_side(path, tmp_path / "none.mp4", seen())
    assert not path.exists()


def test_sound_that_the_file_cannot_hold(tmp_path):
    clip = write(tmp_path / "clip.mkv", sound="wavpack")
    path = tmp_path / "both.mp4"
    with pytest.raises(ValueError, match="codec wavpack. Pass .* in .mkv"):
        visualize.write_side_by_side(path, clip, seen())
    assert not path.exists()
    visualize.write_side_by_side(tmp_path / "both.mkv", clip, seen())
    assert packets(tmp_path / "both.mkv")[0] == packets(clip)[0]
