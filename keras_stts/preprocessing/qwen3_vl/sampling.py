"""Which frames of a video Qwen3-VL sees, and what it reads of their times."""

import warnings

import numpy as np

from keras_stts.data.sampling import MIN_FRAMES
from keras_stts.data.sampling import even_indices

# Of a video that does not tell.
DEFAULT_FPS = 24.0


def known_fps(fps):
    """Frames a second of a video, or 24 with a warning if it tells none.

    Args:
        fps: Number, or None if the video does not tell.

    Returns:
        Float.

    Raises:
        ValueError: If it is not positive.
    """
    if fps is None:
        warnings.warn(
            "The times of the frames are needed, and the video does not tell "
            f"its frames a second: {DEFAULT_FPS:g} are assumed. Pass `fps`.",
            stacklevel=3,
        )
        return DEFAULT_FPS
    if not 0 < fps < np.inf:
        raise ValueError(
            "Frames a second must be positive and finite. Received: "
            f"fps={fps}. Leave it out if the video does not tell."
        )
    return float(fps)


def frame_indices(
    num_total,
    fps,
    *,
    max_fps=2.0,
    num_frames=None,
    min_frames=MIN_FRAMES,
    max_frames=768,
):
    """Says which frames of a video to take, in even steps from first to last.

    Of files, `keras_stts.data.read_video` with the sampling `"qwen3_vl"` reads
    the same ones.

    Args:
        num_total: Int. Frames of the video.
        fps: Number. Its frames a second, or None, see `known_fps`.
        max_fps: Number. Frames a second to take, within the limits below and
            of the video.
        num_frames: Optional int. Frames to take instead, whatever the limits;
            frames repeat if it is more than the video has.
        min_frames, max_frames: Ints. Fewest and most frames to take.

    Returns:
        Int64 (T,): indices that never fall.

    Raises:
        ValueError: If a number is not positive, or `min_frames` is larger
            than `max_frames`.

    Example:

    >>> frame_indices(100, 25.0).tolist()
    [0, 14, 28, 42, 57, 71, 85, 99]
    """
    counts = {"num_total": num_total, "min_frames": min_frames}
    counts |= {"max_frames": max_frames, "max_fps": max_fps}
    if num_frames is not None:
        counts["num_frames"] = num_frames
    if min(counts.values()) <= 0 or min_frames > max_frames:
        given = ", ".join(f"{name}={value}" for name, value in counts.items())
        raise ValueError(
            "Counts of frames and frames a second must be positive, and "
            f"`min_frames` at most `max_frames`. Received: {given}."
        )
    if num_frames is None:
        wanted = int(num_total / known_fps(fps) * max_fps)
        num_frames = min(max(wanted, min_frames), max_frames, num_total)
    return even_indices(num_total, num_frames)


def patch_times(times, *, temporal_size=2):
    """Seconds of temporal patches: midway between first and last frame.

    Where the last patch lacks frames, the last frame is repeated.

    Args:
        times: Numbers (T,), seconds of the frames: their places in the video
            by its frames a second, as `keras_stts.data.read_video` gives them
            with the sampling `"qwen3_vl"`.
        temporal_size: Int. Frames of a patch.

    Returns:
        Float64 (ceil(T / temporal_size),), seconds.

    Raises:
        ValueError: If there is no frame.

    Example:

    >>> patch_times(np.array([0, 14, 28]) / 25.0).tolist()
    [0.28, 1.12]
    """
    times = np.asarray(times, "float64")
    if times.ndim != 1 or not len(times):
        raise ValueError(
            "`times` must be the seconds of one frame or more. Received: an "
            f"array of shape {times.shape}."
        )
    times = np.pad(times, (0, -len(times) % temporal_size), mode="edge")
    first, last = (
        times[::temporal_size],
        times[temporal_size - 1 :: temporal_size],
    )
    return (first + last) / 2
