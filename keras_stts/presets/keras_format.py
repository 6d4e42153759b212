"""What KerasHub reads of a preset in Keras' format, looked through before."""

import contextlib
import os
import warnings

from keras_stts import _hub_compat as hub
from keras_stts.models import backbone_bounds as bounds
from keras_stts.models import sizes
from keras_stts.models.backbone_bounds import check_backbone
from keras_stts.models.backbone_bounds import check_fits
from keras_stts.models.backbone_bounds import is_number
from keras_stts.preprocessing import byte_pairs
from keras_stts.presets import configs as preset_configs
from keras_stts.presets import files as preset_files
from keras_stts.presets import migration
from keras_stts.presets import safe_hdf5
from keras_stts.presets.parsing import AGAIN
from keras_stts.presets.parsing import parse_json
from keras_stts.presets.parsing import text_of
from keras_stts.pruning import STTS

WEIGHTS = "model.weights.h5"
WEIGHTS_INDEX = "model.weights.json"
CONVERTER = "video_converter.json"


def check_backbone_files(preset, kwargs, *, load_weights=True):
    """Raise unless a preset's backbone can be made and its weights are whole.

    Args:
        preset: Str. Handle or directory.
        kwargs: Dict of arguments in the place of the preset's.
        load_weights: Bool. Whether to look at the weights, too.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged, too large, or holds what it should not.
    """
    config = preset_configs.read(preset, hub.CONFIG_FILE)
    saved = sizes.of_config(config["config"])
    given = {k: v for k, v in saved.items() if k not in kwargs}
    check_backbone(given, f"{hub.CONFIG_FILE} of {preset}")
    check_backbone(kwargs)
    if not load_weights:
        return
    names = weights_files(preset)
    paths = [preset_files.find(preset, name) for name in names]
    for path in paths:
        safe_hdf5.check(path)
    size = sum(os.path.getsize(path) for path in paths)
    where = f"{', '.join(names[:3])} of {preset}"
    check_fits({**given, **kwargs}, size, where)


def check_all_used(preset, backbone):
    """Raise if the files of weights hold more than a backbone's."""
    names = weights_files(preset)
    paths = [preset_files.find(preset, name) for name in names]
    held = sum(safe_hdf5.count_arrays(path) for path in paths)
    if not isinstance(backbone.pruning, STTS):
        # Version 0.1 saved a scorer whatever pruned.
        scorer = migration.SCORER
        held -= sum(safe_hdf5.count_arrays(path, scorer) for path in paths)
    if held > len(backbone.variables):
        raise ValueError(
            "The weights of a preset must be those of its config, which makes "
            f"{len(backbone.variables)} arrays. Received: "
            f"{', '.join(names[:3])} of {preset}, with {held}. {AGAIN}"
        )


def weights_files(preset):
    """Names of the files that a backbone's weights lie in.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If there are two sets of them, or the index names files
            that are not beside it.
    """
    if not preset_files.has(preset, WEIGHTS_INDEX):
        preset_files.find(preset, WEIGHTS)
        return [WEIGHTS]
    if preset_files.has(preset, WEIGHTS):
        raise two_sets(preset, WEIGHTS, WEIGHTS_INDEX)
    index = preset_files.read_json(preset, WEIGHTS_INDEX)
    return names_of_index(index, f"{WEIGHTS_INDEX} of {preset}")


def two_sets(preset, one, other):
    return ValueError(
        "A preset must hold its weights once. Received: "
        f"{preset} with both {one} and {other}, from two models or one saved "
        "twice. Delete the older."
    )


def names_of_index(index, where):
    """Names of the files that an index of weights names, sorted."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(
            "An index of weights must hold a `weight_map` of names to files. "
            f"Received: {where}, which holds none. {AGAIN}"
        )
    names = set()
    for files in places.values():
        files = files if isinstance(files, list) and files else [files]
        for name in files:
            preset_files.check_plain_name(name, where)
            names.add(name)
    return sorted(names)


def check_task(config, where):
    """Raise unless the settings of a `VideoVLM` can be some."""
    value = config.get("aux_coefficient")
    if value is not None and not isinstance(value, dict):
        if not is_number(value, 0, 1e6):
            raise ValueError(
                "`aux_coefficient` must be a number from 0 to 1,000,000, a "
                f"schedule or None. Received: {value!r} in {where}. {AGAIN}"
            )


@contextlib.contextmanager
def reading_weights(path):
    """While a model's weights are read from a file, errors name it."""
    path = os.fspath(path)
    if "://" in path or not path.endswith((".h5", ".json")):
        yield
        return
    if path.endswith(".json"):
        index = parse_json(text_of(path, path), path)
        for name in names_of_index(index, path):
            safe_hdf5.check(os.path.join(os.path.dirname(path), name))
    with safe_hdf5.reading(path):
        yield


def methods_without_weights(backbone, filepath):
    """Methods of pruning that have weights, of which a file has none.

    It was saved with another method; these start untrained.

    Args:
        backbone: A `VideoVLMBackbone`.
        filepath: Path of a file of weights, or of the index of several.
    """
    missing = []
    for method in (backbone.pruning, backbone.language_pruning):
        if not getattr(method, "weights", None):
            continue
        groups = [f"layers/forward/{method.saved_as}"]
        if isinstance(method, STTS):
            groups.append(migration.SCORER)
        if not _holds(filepath, groups):
            missing.append(method)
            warnings.warn(
                f"{filepath} holds no weights of {type(method).__name__}, so "
                "it starts untrained. Train it before you prune with it."
            )
    return missing


def _holds(filepath, groups):
    """Whether there are weights in one of these groups."""
    filepath = os.fspath(filepath)
    if "://" in filepath or not filepath.endswith((".h5", ".json")):
        return True
    if filepath.endswith(".json"):
        index = parse_json(text_of(filepath, filepath), filepath)
        names = [name.lstrip("/") for name in index["weight_map"]]
        return any(name.startswith(tuple(groups)) for name in names)
    return any(safe_hdf5.count_arrays(filepath, name) for name in groups)


def check_preprocessor(preset, config_file=None):
    """Raise unless a preprocessor's or tokenizer's files are whole."""
    name = config_file or hub.PREPROCESSOR_CONFIG_FILE
    if name != hub.PREPROCESSOR_CONFIG_FILE or preset_files.has(preset, name):
        config = preset_configs.read(preset, name)["config"]
        where = f"{name} of {preset}"
        if "tokenizer" in config:
            bounds.check_preprocessor(config, where)
            bounds.check_preprocessor(_inner(config, "video_converter"), where)
            config = _inner(config, "tokenizer")
        tokenizer = {"config": config}
    else:
        name = hub.TOKENIZER_CONFIG_FILE
        tokenizer = preset_configs.read(preset, name)
    _check_tokens(tokenizer["config"], f"{name} of {preset}")
    own = tokenizer["config"].get("config_file") or hub.TOKENIZER_CONFIG_FILE
    check_assets(preset, f"assets/{own.split('.')[0]}")


def _check_tokens(config, where):
    for name in ("extra_special_tokens", "unsplittable_tokens"):
        tokens = config.get(name) or []
        good = isinstance(tokens, list)
        if not good or not all(isinstance(token, str) for token in tokens):
            raise ValueError(
                f"`{name}` must be a list of str. Received: {tokens!r:.100} in "
                f"{where}. {AGAIN}"
            )


def check_converter(preset):
    """Raise unless a video converter's settings can be some."""
    config = preset_configs.read(preset, CONVERTER)["config"]
    bounds.check_preprocessor(config, f"{CONVERTER} of {preset}")


def _inner(config, name):
    """The settings of an object within a config; none if it is no object."""
    value = config.get(name)
    inner = value.get("config") if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def check_assets(preset, folder):
    """Raise unless a tokenizer's vocabulary and merges are whole."""
    name = f"{folder}/vocabulary.json"
    vocabulary = preset_files.read_json(preset, name)
    byte_pairs.check_vocabulary(vocabulary, f"{name} of {preset}")
    name = f"{folder}/merges.txt"
    text = preset_files.read_text(preset, name)
    byte_pairs.read_merges(text, vocabulary, f"{name} of {preset}")


@contextlib.contextmanager
def naming(preset):
    """Errors that come of what a preset's files hold name it."""
    errors = (AttributeError, IndexError, KeyError, RuntimeError, TypeError)
    try:
        yield
    except ValueError as error:
        text = str(error)
        known = str(preset) in text and len(text) < 3000
        if known or type(error) is not ValueError:
            raise
        text = text if len(text) < 1000 else text[:1000] + "..."
        raise ValueError(
            f"{text} This came of the configs of {preset}, or of the arguments "
            "given beside it."
        ) from error
    except (*errors, ArithmeticError) as error:
        # Keras puts the reason behind the whole config.
        reason = str(error).split("Exception encountered: ")[-1]
        reason = " ".join(reason.split())[:300]
        raise ValueError(
            "A preset's configs must be what this version saves. Received: "
            f"{preset}, of which no model can be made "
            f"({type(error).__name__}: {reason}). {AGAIN}"
        ) from error
