"""What each part of a batch counts in means over all of it."""

import keras

from keras_stts.models.encoding import frames_of
from keras_stts.ops.scoring import frame_pairs
from keras_stts.training import text_loss


def weights_of(batch):
    """What a batch's means are over.

    Args:
        batch: Preprocessed x, or a tuple (x, y) or (x, y, sample_weight).

    Returns:
        Tuple of float32 scalars: weighed tokens, and pairs of frames.
    """
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    tokens = keras.ops.ones(())
    if sample_weight is not None:
        tokens = keras.ops.sum(keras.ops.cast(sample_weight, "float32"))
    if "frame_mask" not in x:
        return tokens, keras.ops.ones(())
    frames = frames_of(x)
    blocks = keras.ops.expand_dims(frames.mask, -1)
    pairs = frame_pairs(blocks, frames.mask, frames.segments)
    return tokens, keras.ops.sum(pairs)


def share(weight, total, number):
    """See `keras_stts.ops.replicas.sharing`.

    Args:
        weight: Scalar tensor, of one part.
        total: Scalar tensor, of all parts.
        number: Int, of parts.
    """
    return keras.ops.divide_no_nan(number * weight, total)


def counted_as(batch, rows):
    """A batch whose loss Keras weighs by a number of rows.

    It weighs by the rows of the first input, by name.
    """
    x, *rest = batch if isinstance(batch, (list, tuple)) else (batch,)
    x = {text_loss.ROWS: keras.ops.zeros((rows,), "bool"), **x}
    return (x, *rest) if rest else x
