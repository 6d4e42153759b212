"""Frames of a video file: which ones to take, reading, resizing."""

import os

import av
import imageio.v3 as iio
import numpy as np

from keras_stts.data._collection import cheap_collection

RULES = ("molmo2_hf", "uniform_last_frame")


def sample_indices(num_total, fps, num_frames, max_fps=2.0, rule="molmo2_hf"):
    """Says which frames of a video a model should see.

    `"molmo2_hf"` is transformers' `Molmo2VideoProcessor.sample_frames`: even
    steps from frame 0, short of the last frame. (Where its rounding asks for
    frame `num_total`, which does not exist, that index is left out.)
    `"uniform_last_frame"` is how Molmo2's authors evaluate: `num_frames`
    times from 0 to the end, both included, or, where that is fewer, every
    `1 / max_fps` seconds and the end.

    Args:
        num_total, fps: the video's frames, in all and a second.
        num_frames, max_fps: the most to take, in all and a second.
        rule: str. `"molmo2_hf"` or `"uniform_last_frame"`.

    Returns:
        int64 (T,), `1 <= T <= num_frames`: rising indices, none twice.

    Raises:
        ValueError: if a number is not positive or `rule` is unknown.

    Example:

    >>> sample_indices(100, 25.0, 5, rule="uniform_last_frame").tolist()
    [0, 25, 50, 75, 99]
    """
    _check_rule(rule, num_frames=num_frames, max_fps=max_fps)
    _check_rule(rule, num_total=num_total, fps=fps)
    duration = num_total / fps
    if rule == "uniform_last_frame":
        times = np.linspace(0.0, duration, num_frames)
        if duration <= (num_frames - 1) / max_fps:
            times = np.arange(np.ceil(duration * max_fps)) / max_fps
            times = np.append(times, duration)
        nearest = np.floor(times * fps + 0.5).astype("int64")
        return np.unique(np.minimum(nearest, num_total - 1))
    if fps > max_fps:
        num_frames = min(num_frames, int(duration * max_fps))
    step = num_total / max(min(num_frames, num_total), 1)
    # float32 as in torch.arange: just below a whole number becomes that one.
    indices = (np.arange(np.ceil(num_total / step)) * step).astype("float32")
    return indices[indices < num_total].astype("int64")


def _check_rule(rule, **positive):
    if rule not in RULES:
        raise ValueError(
            f"The sampling rule must be one of {RULES}. Received: {rule!r}. "
            "Leave it out to sample as transformers does."
        )
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={value}. "
                "Take `num_total` and `fps` from the video; Molmo2 was "
                "trained with num_frames=64, max_fps=2.0."
            )


@cheap_collection()
def read_video(source, num_frames, max_fps=2.0, sampling="molmo2_hf"):
    """Reads the frames that `sample_indices` chooses from a video file.

    Decoding stops after the last of them, and only they are held in memory.
    A file that does not say how many frames it has (mkv, webm) is decoded
    once before, to count. Sideways videos are turned upright.

    Args:
        source: str or path-like. A file in any format FFmpeg reads.
        num_frames, max_fps, sampling: as in `sample_indices`.

    Returns:
        `(frames, timestamps)`: uint8 (T, H, W, 3), RGB, and float64 (T,),
        seconds: each frame's index divided by the video's frames a second.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no video, damaged or cut short.

    Example:

    >>> frames, times = read_video("cat.mp4", 64)  # doctest: +SKIP
    """
    _check_rule(sampling, num_frames=num_frames, max_fps=max_fps)
    path = _check_file(source)
    rule = (num_frames, max_fps, sampling)
    # Opened rarely: imageio collects garbage at each closing.
    with _open(path) as file:
        total, fps, duration = _inspect(path, file)
        video = _decode(path, file, total, fps, rule) if total else None
    if video is None:
        # The header counts no frames, or some that are never shown.
        total = _count(path, fps, duration)
        with _open(path) as file:
            video = _decode(path, file, total, fps, rule)
    return video


def _check_file(source):
    path = os.fspath(source)
    if not os.path.exists(path):
        _fail(path, "does not exist. Check the path.", FileNotFoundError)
    if os.path.isdir(path):
        _fail(path, "is a directory. Pass one file at a time.")
    if os.path.getsize(path) == 0:
        _fail(path, "is empty (0 bytes). Copy or download it again.")
    return path


def _fail(path, what, error=ValueError):
    raise error(f"`source` must be a video. Received: {path!r}, which {what}")


def _open(path):
    try:
        return iio.imopen(path, "r", plugin="pyav")
    except OSError as error:
        what = "is not a video, or a damaged one. Convert or copy it again."
        if isinstance(error.__cause__, IndexError):
            what = "has no video stream (only sound?). Pass another file."
        _fail(path, what)


def _inspect(path, file):
    """Gives frames in all (or 0), frames a second, seconds (or None)."""
    total, facts = file.properties().n_images, file.metadata()
    fps, duration = facts["fps"], facts.get("duration")
    # FFmpeg draws text files as pictures, and plays covers at 90000 a second.
    if facts["codec"] in ("ansi", "bintext", "idf", "xbin") or fps > 10000:
        _fail(path, "is text or sound with a cover. Pass another file.")
    if facts["video_format"] is None:
        _fail(path, "has no frame. Copy or download it again.")
    if duration is None and "DURATION" in facts:
        clock = [float(part) for part in facts["DURATION"].split(":")]
        duration = float(np.dot(clock, [3600, 60, 1]))
    if duration and 0 < total < 0.99 * duration * fps:
        # The rate varies, and the header gives its peak: take the mean.
        return total, total / duration, duration
    if duration and "major_brand" in facts:
        # A trimmed mp4 counts frames before its start that are not shown.
        total = min(total, max(round(duration * fps), 1))
    return total, fps, total / fps or duration


def _read(path, file, *filters):
    try:
        yield from file.iter(filter_sequence=filters, thread_type="FRAME")
    except av.FFmpegError:
        _fail(path, "is truncated or damaged. Copy or download it again.")


def _decode(path, file, total, fps, rule):
    """Gives frames and times, or None if the file holds fewer frames."""
    indices = sample_indices(total, fps, *rule)
    # FFmpeg drops the other frames before it turns them into RGB.
    wanted = "+".join(f"eq(n,{index})" for index in indices)
    for row, frame in enumerate(_read(path, file, ("select", wanted))):
        if row == 0:
            frames = np.empty((len(indices),) + frame.shape, "uint8")
        frames[row] = frame
        if row == len(indices) - 1:
            return _upright(file, frames), indices / fps


def _upright(file, frames):
    try:
        facts = file.metadata(index=0, constant_framerate=False)
    except OSError:  # Raw streams cannot be rewound, and are never turned.
        return frames
    across, down = np.frombuffer(facts.get("DISPLAYMATRIX", bytes(8)), "i4")[:2]
    turns = round(-np.arctan2(down, across) / (np.pi / 2))
    return np.ascontiguousarray(np.rot90(frames, turns, axes=(1, 2)))


def _count(path, fps, duration):
    with _open(path) as file:
        small = ("scale", "16:16:flags=neighbor")
        count = sum(1 for _ in _read(path, file, small))
    if count == 0:
        _fail(path, "has no frame. Copy or download it again.")
    # Headers may be one frame off.
    if duration is None or count >= duration * fps - 1:
        return count
    with _open(path) as file:
        first = file.metadata(0, constant_framerate=False)["time"]
        last = file.metadata(count - 1, constant_framerate=False)["time"]
    # Where the rate varies, the last picture may be held for a while.
    steady = abs(last - first - (count - 1) / fps) < 0.5 / fps
    if last - first + (1.5 / fps if steady else 0.5) < duration:
        what = f"is truncated: {last:.1f} of {duration:.1f} s."
        _fail(path, what + " Copy or download it again.")
    return count


def resize_frames(frames, size):
    """Resizes frames as Molmo2's processor does: bilinear, no antialiasing.

    Args:
        frames: uint8 (T, H, W, 3).
        size: int for a square, or `(h, w)`.

    Returns:
        uint8 (T, h, w, 3); `frames` itself if the size is right already.

    Raises:
        ValueError: if `frames` or `size` is not as above.

    Example:

    >>> resize_frames(np.zeros((2, 48, 64, 3), "uint8"), 378).shape
    (2, 378, 378, 3)
    """
    height, width = size = tuple(np.broadcast_to(size, 2).tolist())
    shape = np.shape(frames)
    dtype = getattr(frames, "dtype", type(frames))
    good = len(shape) == 4 and shape[3] == 3 and dtype == "uint8"
    if not good or min(size + shape[1:]) < 1:
        raise ValueError(
            "`frames` must be uint8 (T, H, W, 3) and no side 0. Received: "
            f"frames of shape {shape} and dtype {dtype}, size={size}. Stack "
            "RGB frames of 0 to 255 and pass, say, size=378."
        )
    if size == shape[1:3]:
        return frames
    resized = np.empty((len(frames), height, width, 3), "uint8")
    for frame, target in zip(frames, resized):
        target[...] = np.rint(_lerp(_lerp(frame, width, 1), height, 0))
    return resized


def _lerp(pixels, size, axis):
    """Resizes one axis of (H, W, 3), to float32."""
    old = pixels.shape[axis]
    centre = np.arange(size, dtype="float32") + np.float32(0.5)
    centre = np.clip(centre * np.float32(old / size) - 0.5, 0, old - 1)
    before = centre.astype("int64")
    after = np.minimum(before + 1, old - 1)
    share = (centre - before.astype("float32")).reshape(-1, *[1] * (2 - axis))
    start = pixels.take(before, axis).astype("float32")
    return start + (pixels.take(after, axis) - start) * share
