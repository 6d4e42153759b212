"""The flat config: arguments of all parts of a backbone in one dict.

`from_preset` changes arguments by these names, other formats are read into
them, and memory is counted from them. Presets of version 0.1 are saved so.
"""

import inspect
import types

import keras

from keras_stts.data.image import IMAGE_WINDOW
from keras_stts.data.image import largest_tiling
from keras_stts.language.language_model import LanguageModel
from keras_stts.models.backbone_facts import Unbuilt
from keras_stts.models.config_methods import DOORS
from keras_stts.models.config_methods import METHOD
from keras_stts.models.config_methods import changed_methods
from keras_stts.models.config_methods import methods_of
from keras_stts.ops import block_grid
from keras_stts.towers.connector import Connector
from keras_stts.towers.connector import connector_costs
from keras_stts.towers.vision_encoder import VisionEncoder

CLASSES = {
    "vision_encoder": VisionEncoder,
    "connector": Connector,
    "language_model": LanguageModel,
}
# Of each part: names in the flat config to names of the part's arguments.
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
# Arguments of the backbone itself to their defaults.
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
# The same as `PARTS`, of arguments that Molmo2's parts do not have.
OTHERS = {
    "vision_encoder": {
        "vision_num_blocks": "num_blocks",
        "vision_num_image_blocks": "num_image_blocks",
    }
}
NAMES = frozenset(
    {*OWN, *METHOD, *DOORS}.union(*PARTS.values(), *OTHERS.values())
)


def defaults_of_own():
    """Dict of arguments of the backbone itself to their defaults."""
    return {name: value for name, value in OWN.items() if value is not NEEDED}


def defaults():
    """Dict of names to their defaults, but for settings of methods."""
    found = defaults_of_own()
    for part, names in PARTS.items():
        parameters = inspect.signature(CLASSES[part].__init__).parameters
        for name, argument in names.items():
            if parameters[argument].default is not NEEDED:
                found[name] = parameters[argument].default
    return {**found, **DOORS}


def needed():
    """Sorted list of names without a default."""
    others = set().union(*OTHERS.values())
    return sorted(NAMES - set(METHOD) - set(defaults()) - others)


def of_backbone(backbone):
    """The flat config of a `VideoVLMBackbone`, with what `counted` adds.

    Methods of pruning are the objects themselves. A part of a user's own class
    may lack some names.
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
    found |= backbone.vision_encoder.sizes
    found |= _sizes_of_blocks(backbone)
    inside = backbone.language_pruning
    return {**found, "pruning": method, "language_pruning": inside}


def _sizes_of_blocks(backbone):
    """Dict of what `counted` adds on blocks, images and the connector."""
    found = {"grid": backbone.grid, "num_blocks": backbone.num_blocks}
    layout = backbone.input_layout
    found["num_image_tokens"] = layout.num_image_tokens
    found["image_patches"] = layout.num_image_patches
    patches, width = backbone.vision_encoder.features_shape
    if hasattr(backbone.connector, "costs"):
        found["connector_costs"] = backbone.connector.costs(patches, width)
    return found


def is_counted(config):
    """Whether a flat config has what `counted` adds."""
    return "num_image_tokens" in config


def counted(config):
    """A flat config with all sizes that operations and memory are counted from.

    Args:
        config: Dict. A flat config of Molmo2's parts, or what `of_backbone`
            returned, which has these sizes already.

    Returns:
        The dict with those of `VisionTower.sizes`; with `"grid"`, rows and
        columns of the blocks of a frame, and their number, `"num_blocks"`; with
        `"num_image_tokens"` and `"image_patches"` of all images of a row; and
        with `"connector_costs"`, see `Connector.costs`.
    """
    if is_counted(config):
        return config
    size, patch = config["image_size"], config["patch_size"]
    side, window = size // patch, config["window"]
    rows, columns = block_grid((side, side), window)
    number, tokens = config["num_images"], 0
    if number:
        most = config["max_crops"]
        tokens, _ = largest_tiling(size, patch, IMAGE_WINDOW, most)
    names = PARTS["connector"]
    return {
        **config,
        "frame_patches": side**2,
        "vision_patches": side**2,
        "pixels": 3 * patch**2,
        "grid": (rows, columns),
        "num_blocks": rows * columns,
        "num_image_tokens": number * tokens,
        "image_patches": number * (config["max_crops"] + 1) * side**2,
        "connector_costs": connector_costs(
            window**2,
            config["vision_hidden_dim"] * len(config["vision_feature_layers"]),
            **{
                argument: config[name]
                for name, argument in names.items()
                if argument != "activation"
            },
        ),
    }


def has_other_parts(config):
    """Whether a config holds parts of other classes than Molmo2's."""
    return is_whole(config) and any(
        _class_of(config[part]) is not cls for part, cls in CLASSES.items()
    )


def of_parts(config):
    """As `of_backbone`, of a config by parts: no weights are made.

    Args:
        config: Dict, the config of a backbone by parts.

    Returns:
        Dict as of `of_backbone`, with `"shapes"` of the weights of the vision
        tower and of the connector.

    Raises:
        ValueError: If a part has no `weight_shapes`.
    """
    backbone = Unbuilt({**defaults_of_own(), **with_parts(config)})
    found, shapes = of_backbone(backbone), {}
    for name in ("vision_encoder", "connector"):
        part = getattr(backbone, name)
        if not hasattr(part, "weight_shapes"):
            raise ValueError(
                "Before it is loaded, a model's memory is counted from what "
                "its parts say of their weights. Received: a "
                f"{type(part).__name__} without `weight_shapes`. Load the "
                "model and call its `memory`."
            )
        shapes[name] = part.weight_shapes(found)
    return {**found, "shapes": shapes}


def in_bucket(config, buckets, num_frames=None):
    """The flat config with the sizes of one bucket, by default the largest.

    Args:
        config: Dict that `of_backbone` returned.
        buckets: List of tuples (T, P): frames, and blocks of the largest one.
        num_frames: Optional int. With it, the smallest bucket that holds so
            many frames is taken.
    """
    fitting = [pair for pair in buckets if pair[0] >= (num_frames or 0)]
    if num_frames is None or not fitting:
        pair = max(buckets, key=lambda pair: (pair[0] * pair[1], pair[1]))
    else:
        pair = min(fitting)
    frames, blocks = pair
    return {
        **config,
        "num_frames": num_frames or frames,
        "num_blocks": blocks,
        "grid": (blocks, 1),
        "frame_patches": blocks * config["window"] ** 2,
    }


def named(backbone):
    """What `of_backbone` returns, as attributes of an object."""
    return types.SimpleNamespace(**of_backbone(backbone))


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
        methods = changed_methods(methods_of(config), pruning_changes)
        config = {n: v for n, v in config.items() if n not in names}
        config["pruning"] = [each for each in methods if each is not None]
    if not is_whole(config):
        return {**config, **changes}
    for part, names in PARTS.items():
        names = {**names, **OTHERS.get(part, {})}
        inner = {a: changes[n] for n, a in names.items() if n in changes}
        if changes.get("dtype") is not None:
            inner["dtype"] = None
        saved = config[part]
        config[part] = {**saved, "config": {**saved["config"], **inner}}
    own = {*OWN, "dtype", "name", "trainable"} & set(changes)
    return {**config, **{name: changes[name] for name in own}}


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
    others = set().union(*OTHERS.values()) & set(config)
    unknown = sorted((set(rest) | others) - {"name", "trainable", "dtype"})
    missing = sorted(set(needed()) - set(config))
    if unknown or missing:
        raise TypeError(
            "`VideoVLMBackbone.from_sizes` got arguments it does not know, or "
            f"lacks some. Received: {', '.join(unknown) or 'none'} that are "
            f"unknown, and not {', '.join(missing) or 'any'} that are needed. "
            f"Known are: {', '.join(sorted(NAMES))}."
        )
