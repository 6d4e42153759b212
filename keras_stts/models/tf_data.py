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
    specs = _specs(preprocessor, length)

    def run(*values):
        values = dict(zip(names, (_plain(value) for value in values)))
        result = preprocessor._call_python(values, sequence_length=length)
        outputs, rest = (result[0], result[1:]) if trains else (result, ())
        return [outputs[name] for name in specs] + list(rest)

    dtypes = [dtype for _, dtype in specs.values()]
    dtypes += ["int32", "float32"] * trains
    flat = tf.numpy_function(run, [x[name] for name in names], dtypes)
    outputs = {}
    for (name, (shape, _)), value in zip(specs.items(), flat):
        value.set_shape((*batch, *shape))
        outputs[name] = value
    if not trains:
        return outputs
    for value in flat[len(specs) :]:
        value.set_shape((*batch, length))
    return (outputs, *flat[len(specs) :])


def _plain(value):
    """Bytes and arrays of bytes as the preprocessor takes them."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return list(value)
    return value


def _specs(preprocessor, length):
    """Shape and dtype of each input of an example."""
    frames, images = preprocessor.num_frames, preprocessor.image_packer
    size = (*preprocessor.video_converter.image_size, 3)
    vision = (preprocessor.vision_length,)
    specs = {}
    if frames:
        specs["videos"] = ((frames, *size), "uint8")
        specs["frame_mask"] = ((frames,), "bool")
    if images.num_images:
        specs["images"] = ((images.num_crops, *size), "uint8")
        specs["image_pooling"] = ((images.num_tokens, 4), "int32")
    return {
        **specs,
        "vision_token_ids": (vision, "int32"),
        "vision_mask": (vision, "bool"),
        "token_ids": ((length,), "int32"),
        "padding_mask": ((length,), "bool"),
    }
