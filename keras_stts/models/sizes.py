"""Arguments of all parts of a backbone by names of their own, flat.

What `from_preset` changes, what files of other formats say and what memory is
counted from. Presets of version 0.1 hold their config so.
"""

import inspect
import types

import keras

from keras_stts import pruning
from keras_stts.language.language_model import LanguageModel
from keras_stts.ops import RESCALE_MIN
from keras_stts.pruning import language
from keras_stts.pruning.method import LAYER
from keras_stts.pruning.method import RATIO
from keras_stts.pruning.method import PruningMethod
from keras_stts.towers.connector import Connector
from keras_stts.towers.vision_encoder import VisionEncoder

CLASSES = {
    "vision_encoder": VisionEncoder,
    "connector": Connector,
    "language_model": LanguageModel,
}
# Names here, and the arguments of a part that they are.
PARTS = {
    "vision_encoder": {
        "image_size": "image_size",
        "patch_size": "patch_size",
        "window": "window",
        "vision_num_layers": "num_layers",
        "vision_hidden_dim": "hidden_dim",
        "vision_num_heads": "num_heads",
        "vision_head_dim": "head_dim",
        "vision_intermediate_dim": "intermediate_dim",
        "vision_feature_layers": "feature_layers",
        "vision_activation": "activation",
        "vision_layer_norm_epsilon": "layer_norm_epsilon",
        "pixel_mean": "pixel_mean",
        "pixel_std": "pixel_std",
        "rematerialize": "rematerialize",
    },
    "connector": {
        "connector_hidden_dim": "pooled_dim",
        "connector_num_heads": "num_heads",
        "connector_head_dim": "head_dim",
        "connector_intermediate_dim": "intermediate_dim",
        "connector_activation": "activation",
        "hidden_dim": "output_dim",
    },
    "language_model": {
        name: name
        for name in inspect.signature(LanguageModel.__init__).parameters
        if name not in ("self", "kwargs")
    },
}
NEEDED = inspect.Parameter.empty
# Arguments of the backbone itself, and their defaults.
OWN = {
    "num_frames": NEEDED,
    "image_patch_id": NEEDED,
    "vision_token_ids": NEEDED,
    "positions": "consecutive",
    "num_images": 0,
    "max_crops": 8,
    "num_segments": 1,
    "video_patch_id": None,
}
# Names here, the settings of a method that they are, and their defaults.
METHOD = {
    "prune_ratio": ("ratio", RATIO),
    "prune_layer": ("layer", LAYER),
    "refill": ("refill", False),
    "rescale_axis": ("rescale_axis", "row"),
    "rescale_min": ("rescale_min", RESCALE_MIN),
}
DOORS = {"pruning": "stts", "language_pruning": None}
NAMES = frozenset({*OWN, *METHOD, *DOORS}.union(*PARTS.values()))


def defaults():
    """Dict of names to their defaults; methods know those of their own."""
    found = {name: value for name, value in OWN.items() if value is not NEEDED}
    for part, names in PARTS.items():
        parameters = inspect.signature(CLASSES[part].__init__).parameters
        for name, argument in names.items():
            if parameters[argument].default is not NEEDED:
                found[name] = parameters[argument].default
    return {**found, **DOORS}


def needed():
    """Sorted names that have no default."""
    return sorted(NAMES - set(METHOD) - set(defaults()))


def of_backbone(backbone):
    """Dict of all names to what a `VideoVLMBackbone` has; methods as they are.

    A part of a user's own class may not have all of them.
    """
    found = {name: getattr(backbone, name) for name in OWN}
    for part, names in PARTS.items():
        layer = getattr(backbone, part)
        for name, argument in names.items():
            if hasattr(layer, argument):
                found[name] = getattr(layer, argument)
    method = backbone.pruning
    for name, (setting, default) in METHOD.items():
        found[name] = getattr(method, setting, default)
    found |= backbone.vision_encoder.embedding_sizes
    inside = backbone.language_pruning
    return {**found, "pruning": method, "language_pruning": inside}


def named(backbone):
    """`of_backbone` as attributes, with `grid` and `num_blocks`."""
    found = types.SimpleNamespace(**of_backbone(backbone))
    found.grid, found.num_blocks = backbone.grid, backbone.num_blocks
    return found


def of_config(config):
    """As `of_backbone`, of the config of a backbone, whole or flat."""
    config = _without_strays(config)
    flat = {name: config[name] for name in NAMES & set(config)}
    if is_whole(config):
        for part, names in PARTS.items():
            inner = config[part]["config"]
            flat |= {n: inner[a] for n, a in names.items() if a in inner}
    method, inside = methods_of(config)
    for name, (setting, default) in METHOD.items():
        value = getattr(method, setting, None)
        flat[name] = default if value is None else value
    return {**flat, "pruning": method, "language_pruning": inside}


def _without_strays(config):
    """Names beside parts go before what the parts say."""
    strays = NAMES - set(OWN) - {"pruning"}
    strays = {name: config[name] for name in strays & set(config)}
    if not is_whole(config) or not strays:
        return config
    rest = {n: v for n, v in config.items() if n not in strays}
    return changed(rest, strays)


def is_whole(config):
    """Whether a config holds parts, not their sizes."""
    return "vision_encoder" in config


def changed(config, changes):
    """A config of a backbone with changes.

    Args:
        config: Dict, whole or flat.
        changes: Dict of names of this module, `"dtype"`, `"name"` and
            `"trainable"`.

    Raises:
        ValueError: If the changes of pruning contradict each other.
    """
    config, changes = dict(config), dict(changes)
    names = {*METHOD, *DOORS}
    pruning_changes = {n: changes.pop(n) for n in names & set(changes)}
    if pruning_changes:
        methods = _changed_methods(methods_of(config), pruning_changes)
        config = {n: v for n, v in config.items() if n not in names}
        config["pruning"] = [each for each in methods if each is not None]
    if not is_whole(config):
        return {**config, **changes}
    for part, names in PARTS.items():
        inner = {a: changes[n] for n, a in names.items() if n in changes}
        if changes.get("dtype") is not None:
            inner["dtype"] = None
        saved = config[part]
        config[part] = {**saved, "config": {**saved["config"], **inner}}
    own = {*OWN, "dtype", "name", "trainable"} & set(changes)
    return {**config, **{name: changes[name] for name in own}}


def _changed_methods(saved, changes):
    """What prunes instead of a method and one inside the language model."""
    given = {METHOD[n][0]: v for n, v in changes.items() if n in METHOD}
    given = {name: value for name, value in given.items() if value is not None}
    (method, inside), old = saved, saved[0]
    if "pruning" in changes:
        method, inside = _copies(changes["pruning"])
    if changes.get("language_pruning") is not None:
        inside = _inside(inside if "pruning" in changes else None, changes)
    elif "language_pruning" in changes and "pruning" not in changes:
        inside = None
    keeps_all = type(method) is PruningMethod
    if keeps_all and given.get("ratio"):
        raise ValueError(
            "`prune_ratio` is the share of blocks that a method before the "
            "language model prunes; methods inside of it have a `ratio` of "
            f"their own. Received: pruning={changes.get('pruning')!r}, "
            f"prune_ratio={given['ratio']!r}. Leave `prune_ratio` out, or pass "
            'both methods: `pruning=["stts", ...]`.'
        )
    if keeps_all:
        return method, inside
    if "pruning" not in changes:
        config = method.get_config()
        _check_known(method, given)
        given = {name: given[name] for name in given if name in config}
        return type(method).from_config({**config, **given}), inside
    _check_known(method, given)
    _check_settings(method, given)
    method.settle(**given)
    if method.ratio is None and old.ratio == 0:
        raise ValueError(
            "A preset whose prune_ratio is 0 prunes nothing until it is told "
            f"how much. Received: pruning={changes['pruning']!r}, no "
            "`prune_ratio`. Pass one, such as prune_ratio=0.5."
        )
    names = [setting for setting, _ in METHOD.values()]
    method.settle(**{n: getattr(old, n, None) for n in names})
    return method, inside


def _inside(inside, config):
    """The one method inside the language model."""
    other = language.get(config.get("language_pruning"))
    if inside is not None and other is not None:
        raise ValueError(
            "One method may prune inside the language model. Received: "
            f"pruning={config.get('pruning')!r}, language_pruning={other!r}. "
            "Leave one of them out."
        )
    return inside or other


def _check_known(method, given):
    """Raise if a method has no such setting; a `layer` is taken by all."""
    if type(method) is PruningMethod:
        return
    unknown = [n for n, value in given.items() if value and n != "layer"]
    unknown = [name for name in unknown if not hasattr(method, name)]
    if unknown:
        raise ValueError(
            f"`{unknown[0]}` is a setting of other methods of pruning. "
            f"Received: {unknown[0]}={given[unknown[0]]!r}, pruning="
            f"{pruning.serialize(method)!r}, which has none. Leave it out."
        )


def _check_settings(method, given):
    """Raise if a method, unless it keeps everything, has others already."""
    if type(method) is PruningMethod:
        return
    for name, value in given.items():
        own = getattr(method, name, None)
        if own is not None and own != value:
            raise ValueError(
                "A method of pruning that has a setting keeps it. Received: "
                f"{type(method).__name__} with {name}={own!r}, and {value!r} "
                "beside it. Leave one of them out."
            )


def _copies(given):
    """As `pruning.split`, without weights, and nobody else's to settle."""
    return tuple(
        each and type(each).from_config(each.get_config())
        for each in pruning.split(given)
    )


def methods_of(config):
    """What prunes before the language model, and inside of it.

    Args:
        config: Dict, whole or flat.

    Returns:
        Tuple (method, language pruning or `None`).

    Raises:
        ValueError: If there are two of a kind.
    """
    method, inside = _copies(config.get("pruning", DOORS["pruning"]))
    _check_known(method, {"refill": config.get("refill")})
    given = {
        setting: config[name]
        for name, (setting, _) in METHOD.items()
        if config.get(name) is not None
    }
    _check_settings(method, given)
    method.settle(**given)
    return method, _inside(inside, config)


def with_parts(config):
    """Arguments of `VideoVLMBackbone`, with parts made.

    Args:
        config: Dict, whole or flat, and perhaps a `"dtype"`, of parts that
            have none.

    Raises:
        TypeError: If a flat config lacks a name, or has an unknown one.
        ValueError: If a part is of an unknown class.
    """
    config = _without_strays(config)
    rest = {n: v for n, v in config.items() if n not in NAMES | set(PARTS)}
    if not is_whole(config):
        _check_names(config, rest)
    parts = {part: _part(part, config) for part in PARTS}
    own = {name: config[name] for name in OWN if name in config}
    method, inside = methods_of(config)
    methods = [method] if inside is None else [method, inside]
    return {**rest, **parts, **own, "pruning": methods}


def _part(part, config):
    if is_whole(config):
        cls, inner = _class_of(config[part]), config[part]["config"]
    else:
        cls, names = CLASSES[part], PARTS[part]
        inner = {a: config[n] for n, a in names.items() if n in config}
    inner = {"name": part, **inner}
    if inner.get("dtype") is None:
        inner["dtype"] = config.get("dtype")
    return cls(**inner)


def _class_of(config):
    name = config.get("registered_name") or config["class_name"]
    cls = keras.saving.get_registered_object(name)
    if cls is None:
        raise ValueError(
            "A part of a backbone must be of a class that is registered with "
            f"Keras. Received: {name!r}. Import what registers it."
        )
    return cls


def _check_names(config, rest):
    unknown = sorted(set(rest) - {"name", "trainable", "dtype"})
    missing = sorted(set(needed()) - set(config))
    if unknown or missing:
        raise TypeError(
            "`VideoVLMBackbone.from_sizes` got arguments it does not know, or "
            f"lacks some. Received: {', '.join(unknown) or 'none'} that are "
            f"unknown, and not {', '.join(missing) or 'any'} that are needed. "
            f"Known are: {', '.join(sorted(NAMES))}."
        )
