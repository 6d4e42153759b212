"""What only this package knows of a model, within transformers' `config.json`.

`export_to_transformers` writes it under a key of its own, and `from_preset`
reads it back. transformers leaves it alone.
"""

from keras_stts.presets import configs as preset_configs

KEY = "keras_stts"
# The backbone's part alone, as the first releases wrote it.
OLD_KEY = "stts_config"
# Arguments that no file of transformers has a place for.
NAMES = {
    "backbone": (
        "language_pruning",
        "num_images",
        "num_segments",
        "positions",
        "prune_layer",
        "prune_ratio",
        "pruning",
        "refill",
        "rematerialize",
        "rescale_axis",
        "rescale_min",
    ),
    "preprocessor": (
        "num_images",
        "num_segments",
        "prompt_mask",
        "sequence_length",
        "time_tokens",
    ),
    "video_converter": (),
    "task": ("aux_coefficient", "stop_gradient_target", "trainable_parts"),
}
# What the processor's files hold, where a model has a preprocessor.
OF_PROCESSOR = ("max_crops", "num_frames", "pixel_mean", "pixel_std", "window")
# How to sample, unless the video processor's file can say it.
SAMPLING = "uniform_last_frame"


def collect(model, sampler=None):
    """What `config.json` is to hold of a `VideoVLM` under `KEY`.

    Args:
        model: A `VideoVLM`.
        sampler: Optional config of a sampler that transformers lacks.

    Returns:
        Dict of JSON.
    """
    preprocessor = model.preprocessor
    parts = {"backbone": model.backbone, "task": model}
    if preprocessor is not None:
        parts["preprocessor"] = preprocessor
    result = {}
    for name, part in parts.items():
        config = part.get_config()
        names = NAMES[name]
        if name == "backbone" and preprocessor is None:
            names += OF_PROCESSOR
        result[name] = {key: config[key] for key in names}
    if sampler is not None:
        result["task"]["sampler"] = sampler
    if preprocessor and preprocessor.video_converter.sampling == SAMPLING:
        result["video_converter"] = {"sampling": SAMPLING}
    return result


def read(config, preset="a checkpoint"):
    """Arguments of each part that a `config.json` holds under `KEY`.

    Args:
        config: Dict, `config.json`.
        preset: Str, what errors call the checkpoint.

    Returns:
        Dict of `"backbone"`, `"preprocessor"`, `"video_converter"` and
        `"task"`, dicts of arguments.

    Raises:
        ValueError: If it is no such dict, or holds unknown names.
    """
    preset_configs.check(
        [config.get(KEY), config.get(OLD_KEY)], f"config.json of {preset}"
    )
    saved = {name: {} for name in NAMES}
    given = {"backbone": config.get(OLD_KEY), **(config.get(KEY) or {})}
    for part, arguments in given.items():
        if part not in saved or not isinstance(arguments or {}, dict):
            _refuse(part, arguments, preset)
        known = NAMES[part] + OF_PROCESSOR + ("sampling", "sampler")
        for name, value in (arguments or {}).items():
            if name not in known:
                _refuse(f"{part}.{name}", value, preset)
        saved[part] = dict(arguments or {})
    return saved


def _refuse(label, value, preset):
    raise ValueError(
        f"`{KEY}` in config.json must hold arguments of a model's parts. "
        f"Received: `{label}`, {value!r:.200}, in that of {preset}. Export "
        "the model again."
    )
