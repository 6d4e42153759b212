"""Weights of examples beside raw videos."""

import keras
import numpy as np

RULE = (
    "`sample_weight` beside raw videos must be a number for each example (or "
    "row of samples), by which the tokens of its response count. "
)


def weighted(batch, y=None, sample_weight=None):
    """Multiply the weights of a preprocessed batch by sample weights.

    Args:
        batch: Tuple (x, labels, weights), weights (B, S') or (S',); or x.
        y: Must be `None`: labels are made of the responses.
        sample_weight: Optional numbers (B,), or one.

    Returns:
        The batch, its weights multiplied.

    Raises:
        ValueError: If there is a `y`, or the weights have another shape.
    """
    if y is not None:
        raise ValueError(
            'The answers to raw videos belong in `x`, as "responses"; the '
            "preprocessor makes labels and weights of them. Received: a `y` "
            "beside raw videos."
        )
    if sample_weight is None:
        return batch
    if not isinstance(batch, tuple):
        raise ValueError(f"{RULE}Received: examples without responses.")
    x, labels, weights = batch
    return x, labels, weights * _as_column(sample_weight, weights)


def _as_column(sample_weight, weights):
    """Numbers of the dtype of `weights` that broadcast to them."""
    if not isinstance(weights, np.ndarray):  # In a `tf.data` pipeline.
        import tensorflow as tf

        given = tf.cast(sample_weight, weights.dtype)
    else:
        try:
            if keras.ops.is_tensor(sample_weight):
                sample_weight = keras.ops.convert_to_numpy(sample_weight)
            given = np.asarray(sample_weight, weights.dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{RULE}Received: {sample_weight!r}.") from error
        if not np.isfinite(given).all():
            raise ValueError(f"{RULE}Received: {sample_weight!r}.")
    if tuple(given.shape) != tuple(weights.shape[:-1]):
        raise ValueError(
            f"{RULE}Received: shape {tuple(given.shape)} for labels of shape "
            f"{tuple(weights.shape)}."
        )
    return given[..., None]
