"""What the parts and arguments of a backbone must agree on."""


def check_arguments(backbone):
    """Raise if a backbone's parts and arguments contradict each other."""
    _check_sizes(backbone)
    _check_segments(backbone)
    made = getattr(backbone.connector, "output_dim", backbone.hidden_dim)
    if made != backbone.hidden_dim:
        raise ValueError(
            "The connector must make embeddings of the language model's width. "
            f"Received: output_dim={made} of the connector, hidden_dim="
            f"{backbone.hidden_dim} of the language model."
        )
    if backbone.language_pruning is not None:
        check_language_pruning(
            backbone.language_pruning,
            backbone.num_layers,
            backbone.num_frames,
            backbone.num_segments,
        )


def check_kwargs(kwargs):
    """Raise if there are unknown arguments, which Keras would ignore."""
    unknown = sorted(set(kwargs) - {"name", "trainable"})
    if unknown:
        raise TypeError(
            "`VideoVLMBackbone` got arguments it does not know. Received: "
            f"{', '.join(unknown)}. Known are those of its docstring; sizes "
            "of its parts go to `VideoVLMBackbone.from_sizes`."
        )


def _check_segments(backbone):
    """Raise if the samples of a row could not be told apart."""
    number, num_images = backbone.num_segments, backbone.num_images
    # Where images and videos share a placeholder, the first ones of a row are
    # taken for the image's: with several samples a row that would be wrong.
    shared = num_images and backbone.video_patch_id is None
    if number < 1 or (number > 1 and shared):
        raise ValueError(
            "`num_segments`, the samples that a row can hold, must be at least "
            "1, and 1 if these may have images with the placeholders of "
            f"videos. Received: num_segments={number}, num_images="
            f"{num_images}."
        )


def check_language_pruning(pruning, num_layers, num_frames, num_segments):
    layers = [stage.layer for stage in pruning.stages]
    if max(layers, default=0) >= num_layers:
        raise ValueError(
            f"{type(pruning).__name__} must prune before layers of the "
            f"language model, counted from 0. Received: layers {layers}, "
            f"num_layers={num_layers}. Pass an instance with other layers, "
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


def _check_sizes(backbone):
    num_frames, num_images = backbone.num_frames, backbone.num_images
    patch_id = backbone.image_patch_id
    vision_ids = backbone.vision_token_ids
    if num_frames < 0 or num_images < 0:
        raise ValueError(
            "`num_frames` and `num_images` must not be negative. Received: "
            f"num_frames={num_frames}, num_images={num_images}."
        )
    if vision_ids and patch_id not in vision_ids:
        raise ValueError(
            "`image_patch_id` must be one of the `vision_token_ids`, which "
            f"see each other both ways. Received: image_patch_id={patch_id}, "
            f"vision_token_ids={list(vision_ids)}."
        )
