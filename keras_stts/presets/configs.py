"""Checks of a preset's configs: they may only make objects of known classes."""

import re

import keras

from keras_stts.presets import files as preset_files
from keras_stts.presets.parsing import AGAIN

PACKAGES = ("keras", "keras_hub", "keras_stts")
# Names that Keras handles in a config without looking for a class.
REFUSED = {
    "Lambda",
    "__keras_tensor__",
    "__lambda__",
    "__tensor__",
    "__typespec__",
}
NAMES = ("module", "class_name", "registered_name", "spec_name")
# Files of a tokenizer are in the preset's own folder of assets.
PATHS = ("vocabulary", "merges")


def read(preset, name):
    """Read and check a config of a preset; see `check`.

    Raises:
        FileNotFoundError: See `preset_files.find`.
        ValueError: See `preset_files.read_json` and `check`; or if it is not
            the config of an object.
    """
    config = preset_files.read_json(preset, name)
    where = f"{name} of {preset}"
    inner = config.get("config")
    if not isinstance(config.get("class_name"), str) or type(inner) is not dict:
        raise ValueError(
            "A config of a preset must have a `class_name` and, under "
            f"`config`, its settings. Received: {where}, which lacks them. "
            f"{AGAIN}"
        )
    check(config, where)
    return config


def check(config, where):
    """Raise if a config could run or read more than this package's objects.

    Args:
        config: Dict or list, what a JSON file holds.
        where: Str, what errors call the file.

    Raises:
        ValueError: If it names a file outside the preset, or a class or
            function that is neither registered with Keras nor part of Keras,
            KerasHub or this package.
    """
    values = [config]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            _check_object(value, where)
            values += value.values()
        elif isinstance(value, list):
            values += value


def _check_object(config, where):
    for name in PATHS:
        if isinstance(config.get(name), str):
            raise ValueError(
                "A config of a preset must not name files: vocabulary and "
                "merges lie in its folder `assets`. Received: "
                f"{name}={config[name][:200]!r} in {where}. Do not load files "
                "that you do not trust."
            )
    if config.get("config_file") is not None:
        preset_files.check_plain_name(config["config_file"], where)
    if "class_name" not in config:
        return
    names = {name: config.get(name) for name in NAMES}
    known = all(n is None or isinstance(n, str) for n in names.values())
    if not known or not _is_known(config, **names):
        given = {k: v for k, v in names.items() if v is not None}
        raise ValueError(
            "A config of a preset must name classes and functions that are "
            "registered with Keras, or of Keras, KerasHub or keras_stts. "
            f"Received: {str(given)[:300]} in {where}. Import the module that "
            "registers your class; do not load files that you do not trust."
        )


def _is_known(config, module, class_name, registered_name, spec_name):
    last = {
        re.split("[.>]", n or "")[-1] for n in (class_name, registered_name)
    }
    if last & REFUSED or spec_name is not None:
        return False
    name = registered_name or class_name
    if class_name == "function":
        name = config.get("config")
        if not isinstance(name, str):
            return False
        if module == "builtins":
            return True  # Keras looks for it among its own.
    found = keras.saving.get_registered_object(name)
    if found is not None:
        # Keras goes by the one name, a reader by the other.
        return class_name in ("function", getattr(found, "__name__", None))
    return module is None or module.split(".")[0] in PACKAGES
