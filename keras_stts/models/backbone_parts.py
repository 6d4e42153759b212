"""The weights of a backbone's parts, and the symbols of its inputs."""

import keras

from keras_stts.data.image import IMAGE_WINDOW


def build_parts(backbone):
    """Make the weights, without videos and images, too: what weights a model
    has does not depend on what it is shown."""
    tower = backbone.vision_encoder
    tower.build()
    backbone.connector.build((None, None, *tower.features_shape))
    for method in (backbone.pruning, backbone.language_pruning):
        _check_free(method)
    backbone.language_model.build()
    # Last, so that another method leaves the others' random weights as is.
    backbone.pruning.attach(
        tower,
        backbone.hidden_dim,
        backbone.num_frames,
        backbone.num_segments,
    )
    if backbone.language_pruning is not None:
        backbone.language_pruning.build(None)


def _check_free(method):
    if getattr(method, "weights", None):
        raise ValueError(
            "A method of pruning with weights belongs to one model. Received: "
            f"{type(method).__name__}, which has {len(method.weights)} of "
            "another model. Make a new one of its class."
        )


def symbols(backbone):
    """Dict of the symbols that a backbone takes, of any number of rows."""
    side = (backbone.image_size, backbone.image_size, 3)
    inputs = {}
    if backbone.num_frames:
        inputs["videos"] = symbol("videos", "uint8", None, *side)
        inputs["frame_mask"] = symbol("frame_mask", "bool", None)
    if backbone.num_images:
        crops = backbone.num_images * (backbone.max_crops + 1)
        inputs["images"] = symbol("images", "uint8", crops, *side)
        inputs["image_pooling"] = symbol(
            "image_pooling",
            "int32",
            backbone.num_image_tokens,
            IMAGE_WINDOW**2,
        )
    for part in ("vision_token_ids", "token_ids"):
        inputs[part] = symbol(part, "int32", None)
    for part in ("vision_mask", "padding_mask"):
        inputs[part] = symbol(part, "bool", None)
    if backbone.num_segments > 1:
        names = ("vision_segments", "text_segments")
        names += ("frame_segments",) if backbone.num_frames else ()
        inputs |= {name: symbol(name, "int32", None) for name in names}
    if backbone.language_pruning is not None:
        inputs["prompt_mask"] = symbol("prompt_mask", "bool", None)
    return inputs


def symbol(name, dtype, *shape):
    """An input of the graph, of any number of rows."""
    return keras.Input(shape, dtype=dtype, name=name)
