"""Puts a `VideoVLM` together from a preset's files."""

import warnings

import keras

from keras_stts import _hub_compat as hub
from keras_stts.language import tied_head
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.memory import foresight
from keras_stts.models import sizes
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.chat_preprocessor import ChatPreprocessor
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.presets import configs as preset_configs
from keras_stts.presets import files as preset_files
from keras_stts.presets import keras_format
from keras_stts.presets.parsing import AGAIN
from keras_stts.presets.preset_mixin import argument_names
from keras_stts.presets.preset_mixin import backbone_config
from keras_stts.presets.preset_mixin import buckets_of
from keras_stts.presets.preset_mixin import format_of
from keras_stts.presets.preset_mixin import saved_dtype

# Of a tokenizer, without which it is none.
TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "vocab.json",
)


def load_task(
    cls, preset, *, load_weights, task, backbone, preprocessor, converter
):
    """A model from a preset.

    Args:
        cls: `VideoVLM` or a subclass.
        preset: Str. Handle or directory.
        load_weights: Bool.
        task, backbone, preprocessor, converter: Dicts of arguments in the
            place of the preset's, one for each part.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, hostile or not the preset's own.
    """
    if "preprocessor" not in task:
        preset_files.check_complete(preset)
    format = format_of(preset)
    if format is not None and not {"backbone", "preprocessor"} & set(task):
        parts = {"backbone": backbone, "preprocessor": preprocessor}
        format.share(preset, {**parts, "converter": converter})
    if "backbone" not in task:
        backbone.setdefault("dtype", saved_dtype(preset))
        config = backbone_config(preset, backbone)
        given = getattr(task.get("preprocessor"), "buckets", None)
        config["buckets"] = given or buckets_of(preset, preprocessor)
        foresight.before_loading(config, 4)
        task["backbone"] = VideoVLMBackbone.from_preset(
            preset, load_weights=load_weights, **backbone
        )
    if "preprocessor" not in task:
        layout = task["backbone"].input_layout
        preprocessor = {**layout.preprocessor_arguments(), **preprocessor}
        task["preprocessor"] = (
            _keras_preprocessor(preset, preprocessor, converter)
            if format is None
            else _preprocessor(format, preset, preprocessor, converter)
        )
    if format is None:
        return _keras_task(cls, preset, load_weights, task)
    with weights_to_be_loaded(load_weights):
        model = cls.from_config({**format.task_arguments(preset), **task})
    if load_weights:
        format.load_head(model, preset)
    return model


def preprocessor_class(preset):
    """The class of a preset's preprocessor; `VideoVLMPreprocessor` if it has
    none, or none that can be told."""
    try:
        format = format_of(preset)
        if format is not None:
            return format.preprocessor_cls or VideoVLMPreprocessor
        config = preset_files.read_json(preset, hub.PREPROCESSOR_CONFIG_FILE)
    except (OSError, ValueError):  # Loading says what is wrong.
        return VideoVLMPreprocessor
    cls = keras.saving.get_registered_object(config.get("registered_name"))
    if isinstance(cls, type) and issubclass(cls, ChatPreprocessor):
        return cls
    return VideoVLMPreprocessor


def _preprocessor(format, preset, preprocessor, converter):
    """The preset's preprocessor with changes; None if it has none."""
    if format.has_preprocessor(preset):
        return format.load_preprocessor(preset, preprocessor, converter)
    found = [n for n in TOKENIZER_FILES if preset_files.has(preset, n)]
    if found:
        raise _half(preset, found[0], "tokenizer.json")
    return None


def _keras_task(cls, preset, load_weights, task):
    saved, has_head = {}, preset_files.has(preset, hub.TASK_WEIGHTS_FILE)
    tied, was_tied = _is_tied(task["backbone"]), _was_tied(preset)
    if tied and not was_tied:
        raise tied_head.no_place_for_head(preset)
    if preset_files.has(preset, hub.TASK_CONFIG_FILE):
        if not was_tied:
            preset_files.find(preset, hub.TASK_WEIGHTS_FILE)
        config = preset_configs.read(preset, hub.TASK_CONFIG_FILE)["config"]
        settings = argument_names(cls) - {"backbone", "preprocessor"}
        saved = {name: config[name] for name in settings & set(config)}
        keras_format.check_task(saved, f"{hub.TASK_CONFIG_FILE} of {preset}")
    elif has_head:
        raise _half(preset, hub.TASK_WEIGHTS_FILE, hub.TASK_CONFIG_FILE)
    if load_weights and not has_head and not was_tied:
        warnings.warn(
            f"{preset} holds a backbone without output head, so the head's "
            "weights are random. Train it before you ask."
        )
    copies = load_weights and was_tied and not tied
    load_weights = load_weights and has_head
    with weights_to_be_loaded(load_weights or copies):
        model = cls.from_config({**saved, **task})
    if copies:
        tied_head.copy_embedding(model)
    if load_weights:
        path = preset_files.find(preset, hub.TASK_WEIGHTS_FILE)
        model.load_task_weights(path)
    return model


def _is_tied(backbone):
    return getattr(backbone.language_model, "tie_embeddings", False)


def _was_tied(preset):
    """Whether a preset's head is its token embedding, without a file."""
    config = preset_configs.read(preset, hub.CONFIG_FILE)["config"]
    return bool(sizes.of_config(config).get("tie_embeddings"))


def _keras_preprocessor(preset, preprocessor, converter):
    """The preset's preprocessor with changes; None if it was saved without."""
    if not preset_files.has(preset, hub.PREPROCESSOR_CONFIG_FILE):
        _check_saved_without(preset)
        return None
    cls = preprocessor_class(preset)
    if converter and "video_converter" not in preprocessor:
        preprocessor["video_converter"] = cls.video_converter_cls.from_preset(
            preset, **converter
        )
    return cls.from_preset(preset, **preprocessor)


def _check_saved_without(preset):
    for name in (hub.TOKENIZER_CONFIG_FILE, keras_format.CONVERTER):
        if preset_files.has(preset, name):
            raise _half(preset, name, hub.PREPROCESSOR_CONFIG_FILE)
    if preset_files.has(preset, hub.TASK_CONFIG_FILE):
        config = preset_files.read_json(preset, hub.TASK_CONFIG_FILE)
        if (config.get("config") or {}).get("preprocessor") is not None:
            name = hub.TASK_CONFIG_FILE
            raise _half(preset, name, hub.PREPROCESSOR_CONFIG_FILE)


def _half(preset, found, missing):
    return FileNotFoundError(
        "A preset must hold all of its files. Received: "
        f"{preset} with {found}, without {missing}. {AGAIN} To load the model "
        "alone, pass preprocessor=None."
    )
