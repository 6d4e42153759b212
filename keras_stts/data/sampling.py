"""Which frames of a video a model should see."""

import numpy as np

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
    check_rule(rule, num_frames=num_frames, max_fps=max_fps)
    check_rule(rule, num_total=num_total, fps=fps)
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
