"""What the arguments of a backbone must agree on."""

from keras_stts.layers.activations import get_activation
from keras_stts.pruning import get as get_pruning
from keras_stts.pruning import language
from keras_stts.pruning import split


def check_arguments(backbone, method):
    """Raise if a backbone's arguments contradict each other."""
    for name in ("vision_activation", "activation", "connector_activation"):
        get_activation(getattr(backbone, name), name)
    _check_sizes(backbone)
    _check_segments(backbone.num_segments, backbone.num_images)
    if backbone.language_pruning is not None:
        check_language_pruning(
            backbone.language_pruning,
            backbone.num_layers,
            backbone.num_frames,
            backbone.num_segments,
        )
    if backbone.refill and backbone.prune_ratio and after_connector(method):
        raise ValueError(
            "`refill` is of methods that prune in the vision encoder. "
            f"Received: refill=True, pruning={backbone.pruning!r}, which "
            "prunes after the connector. Leave one of them out."
        )


def check_kwargs(kwargs):
    """Keras swallows arguments it does not know; a typo must not pass."""
    unknown = sorted(set(kwargs) - {"name", "trainable"})
    if unknown:
        raise TypeError(
            "`VideoVLMBackbone` got arguments it does not know. Received: "
            f"{', '.join(unknown)}. Known are those of its docstring."
        )


def _check_segments(num_segments, num_images):
    if num_segments < 1 or (num_segments > 1 and num_images):
        raise ValueError(
            "`num_segments`, the samples that a row can hold, must be at least "
            "1, and 1 if these may have images. Received: num_segments="
            f"{num_segments}, num_images={num_images}."
        )


def check_language_pruning(pruning, num_layers, num_frames, num_segments):
    layers = [stage.layer for stage in pruning.stages]
    if max(layers, default=0) >= num_layers:
        raise ValueError(
            f"{type(pruning).__name__} must prune before blocks of the "
            f"language model, counted from 0. Received: blocks {layers}, "
            f"num_layers={num_layers}. Pass an instance with other blocks, "
            "such as `pruning=keras_stts.pruning.FastV(layer=1)` or "
            "`keras_stts.pruning.Feather(layers=(1, 2))`."
        )
    if num_frames == 0 or num_segments > 1:
        raise ValueError(
            "Pruning inside the language model (`language_pruning`) is for "
            "models of videos, one a row. Received: "
            f"num_frames={num_frames}, num_segments={num_segments}. Leave "
            "`num_segments` at 1."
        )


def methods_of(pruning, prune_ratio, language_pruning):
    """What prunes before the language model, how much, and inside of it."""
    method, inside = split(pruning)
    other = language.get(language_pruning)
    if inside is not None and other is not None:
        raise ValueError(
            "One method may prune inside the language model. Received: "
            f"pruning={pruning!r}, language_pruning={language_pruning!r}. "
            "Leave one of them out."
        )
    inside = inside or other
    if method is None:
        return get_pruning("stts"), 0.0, inside
    return method, prune_ratio, inside


def after_connector(method):
    """Whether a method before the language model prunes behind the tower."""
    return method.place == "connector"


def _check_sizes(backbone):
    num_frames, num_images = backbone.num_frames, backbone.num_images
    num_query_heads = backbone.num_query_heads
    num_key_value_heads = backbone.num_key_value_heads
    patch_id = backbone.image_patch_id
    vision_ids = backbone.vision_token_ids
    if num_frames < 0 or num_images < 0:
        raise ValueError(
            "`num_frames` and `num_images` must not be negative. Received: "
            f"num_frames={num_frames}, num_images={num_images}."
        )
    if num_query_heads % num_key_value_heads:
        raise ValueError(
            "`num_key_value_heads` must divide `num_query_heads`. Received: "
            f"num_query_heads={num_query_heads}, num_key_value_heads="
            f"{num_key_value_heads}."
        )
    if patch_id not in vision_ids:
        raise ValueError(
            "`image_patch_id` must be one of the `vision_token_ids`, which "
            f"see each other both ways. Received: image_patch_id={patch_id}, "
            f"vision_token_ids={list(vision_ids)}."
        )
