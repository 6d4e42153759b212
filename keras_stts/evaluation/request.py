"""Checks of the arguments of `keras_stts.evaluate`."""

import numpy as np

from keras_stts.models.video_vlm import VideoVLM
from keras_stts.ops import num_kept_blocks

POLICIES = ("raise", "skip", "report")


def check_request(model, numbers, on_error, output):
    """Raise a ValueError if the arguments of `keras_stts.evaluate` are wrong.

    Args:
        model: What should be a `VideoVLM` with its preprocessor.
        numbers: Dict of an argument's name to a list of its values, `None` or
            positive ints.
        on_error, output: See `keras_stts.evaluate`.
    """
    if not isinstance(model, VideoVLM):
        raise ValueError(
            "`model` must be a `keras_stts.VideoVLM`. Received: "
            f"{model!r}. Load one with `keras_stts.VideoVLM.from_preset`."
        )
    if model.preprocessor is None:
        raise ValueError(
            "`model` must have a preprocessor, to read questions. "
            "Received: a model with preprocessor=None."
        )
    for name, values in numbers.items():
        if not values or not all(map(_is_count, values)):
            raise ValueError(
                f"`{name}` must be positive, and an int. Received: "
                f"{name}={values}."
            )
    if on_error not in POLICIES:
        raise ValueError(
            f"`on_error` must be one of {', '.join(POLICIES)}. Received: "
            f"on_error={on_error!r}."
        )
    if on_error == "report" and output is None:
        raise ValueError(
            'on_error="report" writes to `output`. Received: output=None. '
            'Name a folder, or pass on_error="skip".'
        )


def _is_count(value):
    """Whether a value is `None` or an int of at least 1."""
    is_int = isinstance(value, (int, np.integer)) and value is not True
    return value is None or (is_int and value >= 1)


def check_budget(backbone, preprocessor):
    """Raise if a model would have to prune frame 0, which is kept whole."""
    ratio, frames = backbone.prune_ratio, preprocessor.num_frames
    if ratio and backbone.pruning.prunes_blocks:
        try:
            num_kept_blocks(preprocessor.num_blocks, frames, ratio)
        except ValueError as error:
            asked = preprocessor.video_converter.num_frames
            raise ValueError(
                f"With num_frames={asked}: {error} Ask with more frames."
            ) from error
