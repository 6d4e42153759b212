"""What an exported Qwen3-VL says beside transformers' fields of its config."""

from keras_stts.formats import saved
from keras_stts.formats.qwen3_vl.buckets import default_buckets
from keras_stts.formats.qwen3_vl.buckets import most_image_blocks

# Arguments that are in no file of transformers.
NAMES = {
    "backbone": (
        "num_images",
        "num_segments",
        "positions",
        "pruning",
        "rematerialize",
    ),
    "preprocessor": (
        "buckets",
        "num_image_blocks",
        "num_images",
        "num_segments",
        "num_videos",
        "prompt_mask",
        "sequence_length",
        "time_tokens",
        "word_tokens",
    ),
    "video_converter": ("num_frames",),
    "task": (
        "aux_coefficient",
        "sampler",
        "stop_gradient_target",
        "trainable_parts",
    ),
}


def collect(model, sampler=None):
    """The settings of a `VideoVLM` for `config.json` under `saved.KEY`.

    Room that is what the processor's files ask for is left out: it follows
    from them, also if a user changes it by `from_preset`.

    Args:
        model: A `VideoVLM`.
        sampler: Optional config of a sampler that transformers lacks.

    Returns:
        Dict of JSON.
    """
    backbone, preprocessor = model.backbone, model.preprocessor
    inner = backbone.get_config()
    inner["rematerialize"] = backbone.rematerialize
    parts = {"backbone": inner, "task": model.get_config()}
    parts["task"]["sampler"] = sampler
    parts["preprocessor"], parts["video_converter"] = _room(backbone), {}
    if preprocessor is not None:
        config = {**preprocessor.get_config(), **parts["preprocessor"]}
        parts["preprocessor"] = _unless_told(config, preprocessor)
    if not backbone.num_frames:
        parts["video_converter"] = {"num_frames": 0}
    return {
        part: {
            name: config[name]
            for name in NAMES[part]
            if config.get(name) is not None
        }
        for part, config in parts.items()
    }


def read(config, preset="a checkpoint"):
    """Arguments of each part that a `config.json` holds under `saved.KEY`.

    Args:
        config: Dict, `config.json`.
        preset: Str, what errors call the checkpoint.

    Returns:
        Dict of the keys of `NAMES` to dicts of arguments.

    Raises:
        ValueError: See `keras_stts.formats.saved.read`.
    """
    return saved.read(config.get(saved.KEY) or {}, NAMES, preset)


def _room(backbone):
    """Sizes of the inputs of a backbone as arguments of a preprocessor."""
    layout = backbone.input_layout
    room = {"prompt_mask": layout.prompt_mask}
    if layout.num_images:
        room["num_image_blocks"] = layout.num_image_blocks
    frames = max(layout.num_frames, 1)
    return {**room, "buckets": [[frames, layout.num_blocks]]}


def _unless_told(config, preprocessor):
    """The config without what its converter tells."""
    converter = preprocessor.video_converter.get_config()
    config = {**config, "buckets": preprocessor.buckets}
    told = [list(pair) for pair in default_buckets(converter)]
    if config["buckets"] == told:
        del config["buckets"]
    blocks = most_image_blocks(converter)
    if config["num_image_blocks"] == blocks or not config["num_images"]:
        del config["num_image_blocks"]
    return config
