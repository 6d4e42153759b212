"""The preprocessor inside a `tf.data` pipeline."""

import numpy as np

TF_DTYPES = {
    "videos": "uint8",
    "frame_mask": "bool",
    "vision_token_ids": "int32",
    "vision_mask": "bool",
    "token_ids": "int32",
    "padding_mask": "bool",
}


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

    def run(*values):
        values = dict(zip(names, (_plain(value) for value in values)))
        result = preprocessor._call_python(values, sequence_length=length)
        outputs, rest = (result[0], result[1:]) if trains else (result, ())
        return [outputs[name] for name in TF_DTYPES] + list(rest)

    dtypes = list(TF_DTYPES.values()) + ["int32", "float32"] * trains
    flat = tf.numpy_function(run, [x[name] for name in names], dtypes)
    shapes = _shapes(preprocessor, length)
    outputs = {}
    for name, value in zip(TF_DTYPES, flat):
        value.set_shape((*batch, *shapes[name]))
        outputs[name] = value
    if not trains:
        return outputs
    for value in flat[len(TF_DTYPES) :]:
        value.set_shape((*batch, length))
    return (outputs, *flat[len(TF_DTYPES) :])


def _plain(value):
    """Bytes and arrays of bytes as the preprocessor takes them."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return list(value)
    return value


def _shapes(preprocessor, length):
    frames = preprocessor.num_frames
    size = preprocessor.video_converter.image_size
    vision = (preprocessor.vision_length,)
    return {
        "videos": (frames, *size, 3),
        "frame_mask": (frames,),
        "vision_token_ids": vision,
        "vision_mask": vision,
        "token_ids": (length,),
        "padding_mask": (length,),
    }
