import inspect
import pathlib

import huggingface_hub
import keras
import keras_hub
from huggingface_hub import constants

from keras_stts import _hub_compat as hub
from keras_stts.formats import registry
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.models import sizes
from keras_stts.presets import configs as preset_configs
from keras_stts.presets import files as preset_files
from keras_stts.presets import keras_format
from keras_stts.presets import migration
from keras_stts.presets import saving as preset_saving
from keras_stts.presets.built_in import PRESETS


def resolve_preset(preset):
    """A built-in preset's handle or directory; anything else unchanged."""
    preset = str(preset)
    if preset in PRESETS:
        handle = PRESETS[preset]["handle"]
        if "://" in handle:
            return handle
        return str(pathlib.Path(__file__).parents[1] / handle)
    if "://" in preset:
        return preset
    if pathlib.Path(preset).is_dir():
        preset_saving.finish(preset)
        return preset
    raise ValueError(
        "`preset` must be a built-in name, a handle (hf://, kaggle://) or an "
        f"existing directory. Received: preset={preset!r}. Built in are: "
        f"{', '.join(PRESETS)}."
    )


def base_of(preset):
    """The handle or built-in name that a preset's weights come from, or `None`.

    Args:
        preset: Str, as `from_preset` takes it. A local directory is none
            itself, but its list of files may tell what it was trained from.
    """
    preset = str(preset)
    if preset in PRESETS and "://" in PRESETS[preset]["handle"]:
        return PRESETS[preset]["handle"]
    if preset in PRESETS or "://" in preset:
        return preset
    return preset_saving.listed(pathlib.Path(preset)).get("base")


def preset_config(preset):
    """Arguments that a built-in preset has unless told otherwise."""
    return PRESETS.get(str(preset), {}).get("config", {})


def format_of(preset):
    """The format of a preset; `None` for that of Keras.

    Raises:
        FileNotFoundError: If the preset has no config.
        ValueError: If its format is unknown.
    """
    if not _has_config(preset):
        raise FileNotFoundError(
            f"A preset holds a `{hub.CONFIG_FILE}`. Received: preset="
            f"{preset!r}, which has none, or does not exist, or needs you to "
            "log in. Save one with `save_to_preset`."
        )
    config = preset_files.read_json(preset, hub.CONFIG_FILE)
    if "registered_name" in config:
        return None
    model_type = config.get("model_type")
    format = registry.get(model_type) if isinstance(model_type, str) else None
    if format is None:
        raise ValueError(
            "A checkpoint must be in Keras format or of the model type "
            f"`{'`, `'.join(registry.names())}`. Received: preset={preset!r} "
            f"of model type {model_type!r}."
        )
    return format


def _has_config(preset):
    try:
        if preset.startswith("hf://"):
            _check_hugging_face(preset)
        return preset_files.has(preset, hub.CONFIG_FILE)
    except Exception as error:
        if "://" not in preset:
            raise
        raise ConnectionError(
            f"The preset {preset!r} could not be fetched: {error} Check the "
            "name and the network, or pass a local directory."
        ) from error


def _check_hugging_face(preset):
    """Raise at once if the hub is out of reach; else it is tried for long."""
    repository = preset.removeprefix("hf://")
    cached = huggingface_hub.try_to_load_from_cache(repository, hub.CONFIG_FILE)
    if not isinstance(cached, str):
        session = huggingface_hub.utils.get_session()
        session.head(constants.ENDPOINT, timeout=5)


def saved_dtype(preset):
    """What a preset is loaded as unless told otherwise.

    The default of Keras, or a quantized preset's own policies.
    """
    saved = None
    if format_of(preset) is None:
        config = preset_configs.read(preset, hub.CONFIG_FILE)
        saved = config["config"].get("dtype")
    if isinstance(saved, dict):
        policy = migration.dtype_policy(saved)
        if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
            return policy
    return keras.config.dtype_policy()


def backbone_config(preset, changes):
    """Sizes of the backbone of a preset, with changes; weights aside.

    Returns:
        Dict, see `keras_stts.models.sizes.of_backbone`, and `"dtype"`; of
        parts that are not Molmo2's their configs.
    """
    format = format_of(preset)
    if format is None:
        config = preset_configs.read(preset, hub.CONFIG_FILE)["config"]
    else:
        config = format.backbone_config(preset)
    config = sizes.changed(config, changes)
    dtype = config.get("dtype")
    if changes.get("dtype") is None:
        dtype = saved_dtype(preset)
    if not sizes.has_other_parts(config):
        config = sizes.of_config(config)
    return {**config, "dtype": dtype}


def buckets_of(preset, changes):
    """Pairs (T, P) that batches of a preset are padded to, or `None`.

    Args:
        preset: Str. Handle or directory.
        changes: Dict of changed arguments of its preprocessor.
    """
    name = hub.PREPROCESSOR_CONFIG_FILE
    if "buckets" in changes:
        return changes["buckets"]
    if format_of(preset) is None and preset_files.has(preset, name):
        config = preset_configs.read(preset, name)["config"]
        return config.get("buckets")
    return None


def argument_names(cls):
    """Names of the arguments that `from_preset` of a class can change."""
    if issubclass(cls, keras_hub.models.Backbone):
        return set(sizes.NAMES)
    parameters = inspect.signature(cls.__init__).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {p.name for p in parameters if p.kind not in kinds} - {"self"}


def check_arguments(kwargs, known):
    """Raise if there are arguments that nothing takes."""
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise TypeError(
            "`from_preset` got arguments that nothing in the model takes. "
            f"Received: {', '.join(unknown)}. Known are: "
            f"{', '.join(sorted(known))}."
        )


class PresetMixin:
    """`from_preset` for built-in names and for formats of others.

    Keras-format presets go to KerasHub's loader as they are.
    """

    presets = PRESETS

    def save_to_preset(self, preset_dir, *args, **kwargs):
        """Save for `from_preset`, in one go when all is written.

        Args:
            preset_dir: Path, made if need be. A preset's other parts in it
                are kept; but not the head of another backbone.
            *args, **kwargs: See KerasHub, such as `max_shard_size`.

        Raises:
            OSError: If it cannot be written, such as on a full disk. Then
                what was there is as it was.
        """
        if preset_saving.is_part(preset_dir):
            super().save_to_preset(preset_dir, *args, **kwargs)
            return
        kind = preset_saving.kind_of(self)
        with preset_saving.replacing(preset_dir, kind) as part:
            super().save_to_preset(str(part), *args, **kwargs)

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Load from a preset.

        Args:
            preset: Str. A built-in name (see `presets`), a handle such as
                `"hf://org/model"`, or a local directory in the format of
                Keras, or in that of Molmo2 or Qwen3-VL.
            **kwargs: Arguments of the constructor to change.

        Raises:
            FileNotFoundError: If the preset lacks a file.
            ValueError: If the preset is unknown, or one of its files is
                damaged, hostile or not its own.
            TypeError: If an argument is unknown.
        """
        with preset_files.loading():
            return cls._from_preset(preset, **kwargs)

    @classmethod
    def _from_preset(cls, preset, **kwargs):
        defaults = preset_config(preset)
        preset = resolve_preset(preset)
        names = argument_names(cls)
        kwargs = {
            **{n: defaults[n] for n in defaults if n in names},
            **kwargs,
        }
        known = names | {"load_weights", "config_file", "dtype"}
        check_arguments(kwargs, known | {"name"})
        format = format_of(preset)
        if format is not None:
            return format.load(cls, preset, **kwargs)
        is_backbone = issubclass(cls, keras_hub.models.Backbone)
        if is_backbone and kwargs.get("dtype") is None:
            kwargs["dtype"] = saved_dtype(preset)
        load_weights = kwargs.get("load_weights", True)
        with weights_to_be_loaded(load_weights), keras_format.naming(preset):
            _check_files(cls, preset, kwargs)
            smaller = {"num_layers", "vision_num_layers", "pruning"}
            smaller &= set(kwargs)
            if is_backbone:
                kwargs = _changed_whole(preset, kwargs)
            result = super().from_preset(preset, **kwargs)
            if is_backbone and load_weights and not smaller:
                keras_format.check_all_used(preset, result)
            return result

    @classmethod
    def from_config(cls, config):
        preset_configs.check(config, f"the config of a {cls.__name__}")
        return super().from_config(config)


def _changed_whole(preset, kwargs):
    """Arguments that KerasHub puts in the place of a preset's config."""
    names = sizes.NAMES & set(kwargs)
    changes = {name: kwargs.pop(name) for name in names}
    if not changes:
        return kwargs
    config = preset_configs.read(preset, hub.CONFIG_FILE)["config"]
    if kwargs.get("dtype") is not None:
        changes["dtype"] = kwargs.pop("dtype")
    config = sizes.changed(config, changes)
    if not sizes.is_whole(config):
        # KerasHub puts these beside what is left of the preset's config.
        config = {**config, **sizes.of_config(config)}
    return {**kwargs, **config}


def _check_files(cls, preset, kwargs):
    """Look through what KerasHub is going to read of a preset."""
    preset_configs.read(preset, hub.CONFIG_FILE)
    config_file = kwargs.get("config_file")
    if issubclass(cls, keras_hub.models.Backbone):
        arguments = {n: kwargs[n] for n in kwargs if n != "load_weights"}
        keras_format.check_backbone_files(
            preset, arguments, load_weights=kwargs.get("load_weights", True)
        )
    elif issubclass(cls, keras_hub.tokenizers.Tokenizer):
        name = config_file or hub.TOKENIZER_CONFIG_FILE
        keras_format.check_preprocessor(preset, name)
    elif issubclass(cls, keras_hub.models.Preprocessor):
        keras_format.check_preprocessor(preset, config_file)
    else:
        keras_format.check_converter(preset)
