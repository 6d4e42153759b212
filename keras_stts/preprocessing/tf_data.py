"""The preprocessor inside a `tf.data` pipeline."""

import numpy as np


def call_in_graph(preprocessor, x, sequence_length=None):
    """Run a preprocessor's NumPy code on symbolic TensorFlow inputs.

    Args:
        preprocessor: A `VideoVLMPreprocessor`.
        x: Dict of TensorFlow tensors, batched or not.
        sequence_length: Optional int.

    Returns:
        What the preprocessor returns, as tensors of static shape.
    """
    import tensorflow as tf

    length = sequence_length or preprocessor.sequence_length
    names = list(x)
    trains = "responses" in names
    batch = tuple(x["prompts"].shape)
    if len(batch) > 1:
        raise ValueError(
            "A `tf.data.Dataset` of raw samples holds one prompt a row. "
            f"Received: prompts of shape {batch}. Preprocess rows of several "
            "samples before, or pass `fit` a dict or a PyDataset of them."
        )
    specs, labels = preprocessor.batch_specs(length)

    def run(*values):
        values = dict(zip(names, (_plain(value) for value in values)))
        result = preprocessor.preprocess(values, sequence_length=length)
        outputs, rest = (result[0], result[1:]) if trains else (result, ())
        return [outputs[name] for name in specs] + list(rest)

    wanted = {**specs, **labels} if trains else specs
    dtypes = [dtype for _, dtype in wanted.values()]
    flat = tf.numpy_function(run, [x[name] for name in names], dtypes)
    for (shape, _), value in zip(wanted.values(), flat):
        value.set_shape((*batch, *shape))
    outputs = dict(zip(specs, flat))
    return (outputs, *flat[len(specs) :]) if trains else outputs


def _plain(value):
    """Bytes and arrays of bytes as the preprocessor takes them."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return list(value)
    return value
