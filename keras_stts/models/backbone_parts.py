"""The parts of a backbone, made of its arguments."""

import keras

from keras_stts.data.image import IMAGE_WINDOW
from keras_stts.language.language_model import LanguageModel
from keras_stts.models.backbone_checks import after_connector
from keras_stts.pruning.connector_pruning import ConnectorPruning
from keras_stts.towers.connector import Connector
from keras_stts.towers.vision_encoder import VisionEncoder


def vision_encoder(backbone, method, dtype):
    """A `VisionEncoder`, that prunes if the method does so in it."""
    ratio = _ratio(backbone)
    late = after_connector(method)
    return VisionEncoder(
        num_layers=backbone.vision_num_layers,
        hidden_dim=backbone.vision_hidden_dim,
        num_heads=backbone.vision_num_heads,
        head_dim=backbone.vision_head_dim,
        intermediate_dim=backbone.vision_intermediate_dim,
        patch_size=backbone.patch_size,
        feature_layers=backbone.vision_feature_layers,
        window=backbone.window,
        prune_ratio=0.0 if late else ratio,
        prune_layer=backbone.prune_layer,
        pruning="stts" if late else method,
        rescale_axis=backbone.rescale_axis,
        rescale_min=backbone.rescale_min,
        refill=backbone.refill,
        pixel_mean=backbone.pixel_mean,
        pixel_std=backbone.pixel_std,
        activation=backbone.vision_activation,
        layer_norm_epsilon=backbone.vision_layer_norm_epsilon,
        rematerialize=backbone.rematerialize,
        num_segments=backbone.num_segments,
        dtype=dtype,
        name="vision_encoder",
    )


def connector(backbone, dtype):
    """The `Connector` of what the encoder sees."""
    return Connector(
        backbone.connector_num_heads,
        backbone.connector_head_dim,
        backbone.connector_hidden_dim,
        backbone.connector_intermediate_dim,
        backbone.hidden_dim,
        activation=backbone.connector_activation,
        dtype=dtype,
        name="connector",
    )


def connector_pruning(backbone, method, dtype):
    """What prunes after the connector, or `None`."""
    if not (after_connector(method) and _ratio(backbone)):
        return None
    return ConnectorPruning(
        method,
        backbone.prune_ratio,
        backbone.num_blocks,
        backbone.num_segments,
        dtype=dtype,
        name="connector_pruning",
    )


def _ratio(backbone):
    return backbone.prune_ratio if backbone.num_frames else 0.0


def language_model(backbone, dtype):
    """The `LanguageModel`, without its head."""
    return LanguageModel(
        backbone.vocabulary_size,
        backbone.num_layers,
        backbone.hidden_dim,
        num_query_heads=backbone.num_query_heads,
        num_key_value_heads=backbone.num_key_value_heads,
        head_dim=backbone.head_dim,
        intermediate_dim=backbone.intermediate_dim,
        additional_vocabulary_size=backbone.additional_vocabulary_size,
        rope_max_wavelength=backbone.rope_max_wavelength,
        layer_norm_epsilon=backbone.layer_norm_epsilon,
        activation=backbone.activation,
        query_key_norm=backbone.query_key_norm,
        norm_after=backbone.norm_after,
        attention_bias=backbone.attention_bias,
        rope_scaling=backbone.rope_scaling,
        rope_scaling_layers=backbone.rope_scaling_layers,
        rematerialize=backbone.rematerialize,
        dtype=dtype,
        name="language_model",
    )


def build(backbone):
    """Make the weights, without videos and images, too: what weights a model
    has does not depend on what it is shown."""
    side = (backbone.image_size, backbone.image_size, 3)
    backbone.vision_encoder.build((None, backbone.num_frames or 2, *side))
    width = backbone.vision_hidden_dim * len(backbone.vision_feature_layers)
    backbone.connector.build((None, None, backbone.window**2, width))
    if backbone.connector_pruning is not None:
        blocks = backbone.num_frames * backbone.num_blocks
        backbone.connector_pruning.build((None, blocks, backbone.hidden_dim))
    backbone.language_model.build()


def inputs(backbone):
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
