import gc
import json
import pathlib
import wave

import av
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_stts.data import choose_frames
from keras_stts.data import read_video
from keras_stts.data import resize_frames
from keras_stts.data import sample_indices

pytestmark = pytest.mark.once

GOLDEN = pathlib.Path(__file__).parent / "golden"
STEP = 4


@pytest.fixture(autouse=True, scope="module")
def cheap_collections():
    """imageio collects garbage at each closing: slow beside big libraries."""
    gc.freeze()
    yield
    gc.unfreeze()


def write_video(path, num_frames=60, fps=10, codec="libx264", size=(32, 48)):
    """Writes a video whose frame i is plain grey of level STEP * i."""
    iio = pytest.importorskip("imageio.v3")
    grey = STEP * np.arange(num_frames, dtype="uint8")
    frames = np.broadcast_to(
        grey[:, None, None, None], (num_frames, *size, 3)
    ).copy()
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with iio.imopen(path, "w", plugin="pyav", options=options) as file:
        file.write(frames, codec=codec, fps=fps)
    return path


def indices_of(frames):
    return np.rint(frames.mean(axis=(1, 2, 3)) / STEP).astype(int).tolist()


def test_frames_are_not_held_once_read(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    gc.collect()
    gc.disable()
    try:
        read_video(path, 8)
        left = [o for o in gc.get_objects() if isinstance(o, av.VideoFrame)]
    finally:
        gc.enable()
    assert not left


def ffmpeg(*arguments):
    import subprocess

    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [program, "-loglevel", "error", *map(str, arguments)]
    subprocess.run(command, check=True)
    return arguments[-1]


def cut(path, share):
    """Copies the first part of a file."""
    data = path.read_bytes()
    target = path.with_name("cut_" + path.name)
    target.write_bytes(data[: int(len(data) * share)])
    return target


# Which frames


def test_sample_indices_equals_transformers_golden_rows():
    rows = json.loads((GOLDEN / "sampled_frames.json").read_text())
    assert len(rows) == 60
    for total, fps, num_frames, expected in rows:
        assert sample_indices(total, fps, num_frames).tolist() == expected


def test_molmo2_samples_as_the_published_processor_does():
    rows = json.loads((GOLDEN / "published_sampling.json").read_text())
    assert len(rows) == 60
    for row in rows:
        total, fps, most = row["total"], row["fps"], row["num_frames"]
        frames = sample_indices(total, fps, most, rule="molmo2")
        assert frames.tolist() == row["frames"]
        own = np.arange(total) / fps
        shown, asked = choose_frames(own, fps, most, rule="molmo2")
        np.testing.assert_allclose(asked, row["times"], atol=1e-8)
        # The frame shown at a time began before it, and its next one after.
        ends = np.append(own[1:], np.inf)
        assert (own[shown] <= asked + 1e-5).all()
        assert (ends[shown] > asked).all()


def test_all_takes_every_frame_or_refuses():
    assert sample_indices(5, 30.0, 5, rule="all").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="6 frames, num_frames=5"):
        sample_indices(6, 30.0, 5, rule="all")


@hypothesis.given(
    st.integers(1, 100_000), st.sampled_from([1.0, 2.0, 23.976, 30.0]),
    st.integers(1, 400),
)  # fmt: skip
@hypothesis.settings(deadline=None, max_examples=60)
def test_sample_indices_equals_torch_arange(total, fps, num_frames):
    torch = pytest.importorskip("torch")
    target = num_frames
    if fps > 2.0:
        target = min(target, int(total / fps * 2.0))
    target = max(min(target, total), 1)
    expected = torch.arange(0, total, total / target).int().tolist()
    if expected[-1] == total:
        expected.pop()
    indices = sample_indices(total, fps, num_frames).tolist()
    assert len(indices) == len(expected)
    # How torch rounds a multiple of the step, in float32, depends on the CPU.
    assert np.abs(np.subtract(indices, expected)).max() <= 1


def test_frame_past_the_end_is_left_out():
    # 115 / (115 / 56) rounds to more than 56, so arange adds frame 115.
    indices = sample_indices(115, 2.0, 56)
    assert len(indices) == 56
    assert indices[-1] == 112


@pytest.mark.parametrize(
    "total, fps, num_frames, expected",
    [
        (100, 10.0, 3, [0, 50, 99]),
        (100, 10.0, 1, [0]),
        # 2 seconds: every half second and the end fit into five frames.
        (20, 10.0, 5, [0, 5, 10, 15, 19]),
        (20, 10.0, 4, [0, 7, 13, 19]),
        # Nearest, not the one before: 1/3 s at 10 a second is frame 3.
        (10, 10.0, 64, [0, 5, 9]),
        (1, 30.0, 64, [0]),
        # One frame a second cannot give two: none comes twice.
        (3, 1.0, 64, [0, 1, 2]),
    ],
)
def test_uniform_last_frame_by_hand(total, fps, num_frames, expected):
    indices = sample_indices(total, fps, num_frames, rule="uniform_last_frame")
    assert indices.tolist() == expected


@hypothesis.given(
    st.integers(1, 10_000),
    st.floats(0.5, 120.0),
    st.integers(1, 200),
    st.floats(0.25, 8.0),
    st.sampled_from(["molmo2_hf", "uniform_last_frame"]),
)
@hypothesis.settings(deadline=None, max_examples=200)
def test_indices_rise_and_exist(total, fps, num_frames, max_fps, rule):
    indices = sample_indices(total, fps, num_frames, max_fps, rule)
    assert 1 <= len(indices) <= num_frames
    assert indices[0] == 0
    assert indices[-1] < total
    assert (np.diff(indices) > 0).all()
    if rule == "uniform_last_frame" and num_frames > 1:
        assert indices[-1] == total - 1


@pytest.mark.parametrize("name", ["num_total", "fps", "num_frames", "max_fps"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_sampling_numbers_must_be_positive(name, value):
    arguments = {"num_total": 9, "fps": 1.0, "num_frames": 2, "max_fps": 2.0}
    with pytest.raises(ValueError, match=f"`{name}` must be positive. Rece"):
        sample_indices(**arguments | {name: value})


def test_unknown_rule():
    with pytest.raises(ValueError, match="one of .*molmo2_hf.*'random'"):
        sample_indices(9, 1.0, 2, rule="random")


# Reading


@pytest.mark.parametrize(
    "name, codec",
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")],
)
@pytest.mark.parametrize(
    "sampling, expected",
    [
        ("molmo2_hf", [0, 15, 30, 45]),
        ("uniform_last_frame", [0, 20, 40, 59]),
    ],
)
def test_read_video_gives_the_sampled_frames(
    tmp_path, name, codec, sampling, expected
):
    path = write_video(tmp_path / name, codec=codec)
    frames, timestamps = read_video(path, 4, sampling=sampling)
    assert frames.shape == (4, 32, 48, 3)
    assert frames.dtype == "uint8"
    assert indices_of(frames) == expected
    assert timestamps.dtype == "float64"
    np.testing.assert_allclose(timestamps, np.array(expected) / 10)


def test_read_video_at_most_max_fps(tmp_path):
    path = str(write_video(tmp_path / "a.mp4"))
    frames, timestamps = read_video(path, 64)
    assert indices_of(frames) == list(range(0, 60, 5))
    np.testing.assert_allclose(timestamps, np.arange(12) / 2)
    frames, _ = read_video(path, 64, max_fps=1.0)
    assert indices_of(frames) == list(range(0, 60, 10))


def test_read_video_of_one_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=1)
    frames, timestamps = read_video(path, 8)
    assert frames.shape == (1, 32, 48, 3)
    assert timestamps.tolist() == [0.0]


def test_trimmed_mp4_is_whole(tmp_path):
    """Its header counts the frames before its beginning, too."""
    path = write_video(tmp_path / "a.mp4")
    path = ffmpeg("-ss", 2.5, "-i", path, "-c", "copy", tmp_path / "b.mp4")
    frames, timestamps = read_video(path, 64, sampling="uniform_last_frame")
    assert indices_of(frames) == [25, 30, 35, 40, 45, 50, 55, 59]
    assert timestamps[-1] == 3.4


def test_sideways_video_is_turned_upright(tmp_path):
    iio = pytest.importorskip("imageio.v3")
    picture = np.zeros((3, 32, 64, 3), "uint8")
    picture[:, :, 48:] = 200
    iio.imwrite(
        tmp_path / "a.mp4", picture, plugin="pyav", codec="libx264", fps=2
    )
    path = ffmpeg(
        "-display_rotation", 90, "-i", tmp_path / "a.mp4", "-c", "copy",
        tmp_path / "b.mp4",
    )  # fmt: skip
    frames, _ = read_video(path, 8)
    assert frames.shape == (3, 64, 32, 3)
    # Turned a quarter to the left, the bright right edge is on top.
    assert frames[:, :12].min() > 180
    assert frames[:, 20:].max() < 20


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="no.mp4', which does not exis"):
        read_video(tmp_path / "no.mp4", 8)
    with pytest.raises(ValueError, match="folder .* must hold images"):
        read_video(tmp_path, 8)


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("a.mp4", b"", "is empty .0 bytes."),
        ("a.mp4", b"Once upon a time\n" * 99, "is not a video"),
        ("a.txt", b"Once upon a time\n" * 99, "is text, not"),
        ("a.mp4", bytes(range(256)) * 9, "is not a video"),
    ],
)
def test_file_that_is_not_a_video(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{name}', which {message}"):
        read_video(path, 8)


def test_sound_is_not_a_video(tmp_path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "none"))
        file.writeframes(bytes(8000))
    with pytest.raises(ValueError, match="a.wav', which has no video stream"):
        read_video(path, 8)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    "name, codec",
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")],
)
def test_truncated_video(tmp_path, name, codec, share):
    path = cut(write_video(tmp_path / name, codec=codec), share)
    message = "is truncated|is not a video, or is damaged"
    with pytest.raises(ValueError, match=f"cut_{name}', which ({message})"):
        read_video(path, 64)


def test_video_without_a_frame(tmp_path):
    path = write_video(tmp_path / "a.webm", codec="libvpx-vp9")
    # A cluster holds the frames of webm: cut right behind its mark.
    mark = path.read_bytes().index(b"\x1f\x43\xb6\x75")
    share = (mark + 10) / path.stat().st_size
    with pytest.raises(ValueError, match="cut_a.webm', which has no frame"):
        read_video(cut(path, share), 8)


def test_bad_arguments_are_named_before_the_file(tmp_path):
    with pytest.raises(ValueError, match="num_frames=0"):
        read_video(tmp_path / "no.mp4", 0)
    with pytest.raises(ValueError, match="Received: 'first'"):
        read_video(tmp_path / "no.mp4", 8, sampling="first")


# Resizing


def to_patches(frames):
    patches = frames.reshape(-1, 27, 14, 27, 14, 3).swapaxes(2, 3)
    return patches.reshape(-1, 729, 588).astype(int)


@pytest.mark.parametrize("name", ["image0_0", "image2_1"])
def test_resize_equals_the_golden_low_resolution_crops(name):
    """Molmo2's processors resize an image's first crop as they do frames."""
    golden = np.load(GOLDEN / "preprocessing.npz")
    patches = to_patches(resize_frames(golden[name][None], 378))
    assert np.abs(patches - golden[f"{name}_pixels_uint8"]).max() <= 1


@pytest.mark.parametrize("name", ["video0", "video1"])
def test_resize_equals_what_golden_videos_tell(name):
    """Their pixels were not divided by 255: all but 0 were clipped to 255."""
    golden = np.load(GOLDEN / "preprocessing.npz")
    frames = golden[f"{name}_frames"]
    indices = sample_indices(len(frames), float(golden[f"{name}_fps"]), 64)
    patches = to_patches(resize_frames(frames[indices], (378, 378)))
    patches = np.where(patches == 0, 128, 255)
    np.testing.assert_array_equal(patches, golden[f"{name}_pixels_uint8"])


@hypothesis.given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 40),
    st.integers(1, 40), st.integers(0, 2**31),
)  # fmt: skip
@hypothesis.settings(deadline=None, max_examples=60)
def test_resize_equals_torch(old_h, old_w, new_h, new_w, seed):
    torch = pytest.importorskip("torch")
    frames = np.random.default_rng(seed).integers(
        0, 256, (2, old_h, old_w, 3), "uint8"
    )
    expected = torch.nn.functional.interpolate(
        torch.tensor(frames).permute(0, 3, 1, 2).float(),
        size=(new_h, new_w),
        mode="bilinear",
        align_corners=False,
        antialias=False,
    )
    expected = expected.round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    resized = resize_frames(frames, (new_h, new_w))
    assert resized.dtype == "uint8"
    assert resized.shape == expected.shape
    assert np.abs(resized.astype(int) - expected).max() <= 1


def test_resize_by_hand():
    frames = np.array([0, 100], "uint8").reshape(1, 1, 2, 1).repeat(3, axis=3)
    wide = resize_frames(frames, (1, 4))
    assert wide[0, 0, :, 0].tolist() == [0, 25, 75, 100]
    assert resize_frames(wide, (1, 2))[0, 0, :, 2].tolist() == [12, 88]
    assert resize_frames(wide, (1, 4)) is wide


@pytest.mark.parametrize(
    "frames, size",
    [
        (np.zeros((2, 8, 8, 3), "float32"), 4),
        (np.zeros((8, 8, 3), "uint8"), 4),
        (np.zeros((2, 8, 8, 4), "uint8"), 4),
        (np.zeros((2, 0, 8, 3), "uint8"), 4),
        (np.zeros((2, 8, 8, 3), "uint8"), 0),
        (np.zeros((2, 8, 8, 3), "uint8"), (4, -1)),
        ([[0]], 4),
    ],
)
def test_resize_of_wrong_shapes(frames, size):
    with pytest.raises(ValueError, match="uint8 .T, H, W, 3. .*Received: .*si"):
        resize_frames(frames, size)
