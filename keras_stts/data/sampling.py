"""Which frames of a video a model should see."""

import numpy as np

RULES = ("molmo2_hf", "molmo2", "uniform_last_frame", "qwen3_vl", "all")
# Qwen3-VL takes that many of a short video, if it has them.
MIN_FRAMES = 4


def sample_indices(num_total, fps, num_frames, max_fps=2.0, rule="molmo2_hf"):
    """Choose which frames of a video a model should see.

    The rules are:

    - `"molmo2_hf"`, transformers' `Molmo2VideoProcessor.sample_frames`: even
      steps from frame 0 that stop before the last frame. (Where its rounding
      asks for frame `num_total`, which does not exist, that index is left
      out.)
    - `"molmo2"`, the processor published with Molmo2 for frames in memory (for
      files see `choose_frames`): even steps from the first frame to the last;
      or, if that is fewer, a frame every `1 / max_fps` seconds and the last.
    - `"uniform_last_frame"`, the evaluation of Molmo2's authors: `num_frames`
      times from 0 to the end, both included; or, if that is fewer, every
      `1 / max_fps` seconds and the end.
    - `"qwen3_vl"`, transformers' `Qwen3VLVideoProcessor.sample_frames`: even
      steps from the first frame to the last, `max_fps` per second but at least
      four.
    - `"all"`: every frame of a video, of which there are at most `num_frames`.

    Args:
        num_total, fps: numbers of the video's frames, in total and per second.
        num_frames, max_fps: the most frames to take, in total and per second.
        rule: str. One of `RULES`.

    Returns:
        int64 (T,), `1 <= T <= num_frames`: ascending indices without repeats.

    Raises:
        ValueError: if a number is not positive, `rule` is unknown, or with
            `"all"` the video has more than `num_frames` frames.

    Example:

    >>> sample_indices(100, 25.0, 5, rule="uniform_last_frame").tolist()
    [0, 25, 50, 75, 99]
    """
    check_rule(rule, num_frames=num_frames, max_fps=max_fps)
    check_rule(rule, num_total=num_total, fps=fps)
    duration = num_total / fps
    if rule == "all":
        return _all(num_total, num_frames)
    if rule == "molmo2":
        return _molmo2(num_total, fps, num_frames, max_fps)
    if rule == "qwen3_vl":
        wanted = max(int(num_total / fps * max_fps), MIN_FRAMES)
        return even_indices(num_total, min(wanted, num_frames, num_total))
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
    # float32 as in torch.arange: it rounds up what is just below an integer.
    indices = (np.arange(np.ceil(num_total / step)) * step).astype("float32")
    return indices[indices < num_total].astype("int64")


def choose_frames(times, fps, num_frames, max_fps=2.0, rule="molmo2_hf"):
    """Choose which frames of a video file a model should see, and their times.

    This is `sample_indices` with the times of the frames, except for two rules.
    `"molmo2"`, as the processor published with Molmo2, chooses times:
    `num_frames` from 0 to the end of the video; or, if that is fewer, every
    `1 / max_fps` seconds and the end. For each of these times it takes the
    frame that is shown then, and the prompt names the chosen time.
    `"qwen3_vl"`, as transformers, computes times from the numbers of frames,
    with `fps` frames in each second.

    Args:
        times: float (n,), seconds of the frames, ascending from 0.
        fps: frames per second, on average.
        num_frames, max_fps, rule: see `sample_indices`.

    Returns:
        Tuple (indices, seconds): int64 (T,), never descending, and float64
        (T,). With `"molmo2"` a frame that is shown long may be repeated.

    Raises:
        ValueError: see `sample_indices`.
    """
    if rule != "molmo2":
        index = sample_indices(len(times), fps, num_frames, max_fps, rule)
        return index, index / fps if rule == "qwen3_vl" else times[index]
    check_rule(rule, num_frames=num_frames, max_fps=max_fps)
    duration = len(times) / fps
    if duration > (num_frames - 1) / max_fps:
        asked = np.linspace(0.0, duration, num_frames)
    else:
        asked = np.append(np.arange(0.0, duration, 1 / max_fps), duration)
    # Round-off may put a time just before that of its frame.
    shown = np.searchsorted(times, asked + 1e-6, "right") - 1
    return shown, asked


def even_indices(num_total, num_frames):
    """So many indices from the first frame to the last, in even steps.

    Args:
        num_total: Int. Frames that there are.
        num_frames: Int. Frames to take; more than there are repeat some.

    Returns:
        Int64 (num_frames,), never falling.

    Example:

    >>> even_indices(100, 8).tolist()
    [0, 14, 28, 42, 57, 71, 85, 99]
    """
    return np.linspace(0, num_total - 1, num_frames).round().astype("int64")


def _molmo2(num_total, fps, num_frames, max_fps):
    last = num_total - 1
    if num_total <= min(2, num_frames):
        return np.arange(num_total)
    if num_total / fps > (num_frames - 1) / max_fps:
        count = min(num_frames, num_total)
        return np.linspace(0, last, count).astype("int64")
    steps = np.arange(0, last, fps / max_fps)
    return np.unique(np.append(np.round(steps), last).astype("int64"))


def _all(num_total, num_frames):
    if num_total > num_frames:
        raise ValueError(
            'With the sampling rule "all" a video may have `num_frames` frames '
            f"at most. Received: {num_total} frames, num_frames={num_frames}. "
            "Make `num_frames` larger, or choose another rule."
        )
    return np.arange(num_total)


def check_rule(rule, **positive):
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
