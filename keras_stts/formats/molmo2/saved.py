"""What an exported Molmo2 says beside transformers' fields of its config."""

from keras_stts.formats import saved
from keras_stts.models import sizes
from keras_stts.pruning import configs_of

# Only the settings of the backbone, written by the first releases.
OLD_KEY = "stts_config"
# Arguments that are in no file of transformers.
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
# Arguments in the processor's files, if a model has a preprocessor.
OF_PROCESSOR = ("max_crops", "num_frames", "pixel_mean", "pixel_std", "window")
# The sampling rule, unless the video processor's file can hold it.
SAMPLING = "uniform_last_frame"


def collect(model, sampler=None):
    """The settings of a `VideoVLM` for `config.json` under `saved.KEY`.

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
        if name == "backbone":
            config = _sizes_of(part)
        names = NAMES[name]
        if name == "backbone" and preprocessor is None:
            names += OF_PROCESSOR
        result[name] = {key: config[key] for key in names}
    if sampler is not None:
        result["task"]["sampler"] = sampler
    if preprocessor and preprocessor.video_converter.sampling == SAMPLING:
        result["video_converter"] = {"sampling": SAMPLING}
    return result


def _sizes_of(backbone):
    """As `keras_stts.models.sizes.of_backbone`, of JSON."""
    config = sizes.of_backbone(backbone)
    for name in ("pruning", "language_pruning"):
        method = config[name]
        config[name] = next(iter(configs_of(method)), None)
    return config


def read(config, preset="a checkpoint"):
    """Arguments of each part that a `config.json` holds under `saved.KEY`.

    Args:
        config: Dict, `config.json`.
        preset: Str, what errors call the checkpoint.

    Returns:
        Dict of `"backbone"`, `"preprocessor"`, `"video_converter"` and
        `"task"`, dicts of arguments.

    Raises:
        ValueError: If it is not such a dict, or has unknown names.
    """
    given = config.get(saved.KEY) or {}
    if isinstance(given, dict) and config.get(OLD_KEY) is not None:
        given = {"backbone": config[OLD_KEY], **given}
    more = OF_PROCESSOR + ("sampling", "sampler")
    names = {part: known + more for part, known in NAMES.items()}
    return saved.read(given, names, preset)
