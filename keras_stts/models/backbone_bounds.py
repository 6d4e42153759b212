"""Limits of a backbone's arguments, wide enough for any real model.

A config from a file may be wrong, or made to exhaust memory: it is checked
before layers are made.
"""

import math
import numbers

# Least and most of each int. Some have negative bounds: where they are used, a
# better message says that they must not be negative.
INTS = {
    "vocabulary_size": (1, 2**24),
    "additional_vocabulary_size": (0, 2**24),
    "num_frames": (-(2**16), 2**16),
    "num_images": (-(2**12), 2**12),
    "num_segments": (-(2**12), 2**12),
    "max_crops": (0, 2**12),
    "image_size": (1, 2**13),
    "patch_size": (1, 2**10),
    "window": (1, 2**10),
    "vision_num_layers": (1, 2**10),
    "vision_hidden_dim": (1, 2**17),
    "vision_num_heads": (1, 2**12),
    "vision_head_dim": (1, 2**12),
    "vision_intermediate_dim": (1, 2**19),
    "connector_hidden_dim": (1, 2**17),
    "connector_num_heads": (1, 2**12),
    "connector_head_dim": (1, 2**12),
    "connector_intermediate_dim": (1, 2**19),
    "num_layers": (1, 2**10),
    "hidden_dim": (1, 2**17),
    "num_query_heads": (1, 2**12),
    "num_key_value_heads": (1, 2**12),
    "head_dim": (1, 2**12),
    "intermediate_dim": (1, 2**19),
    "image_patch_id": (0, 2**25),
    "prune_layer": (0, 2**10),
}
# Sizes that `least_weights` counts from.
SIZES = set(INTS) - {
    "image_patch_id",
    "max_crops",
    "num_frames",
    "num_images",
    "num_segments",
    "prune_layer",
    "window",
}
# The same of preprocessors and video converters.
PREPROCESSOR_INTS = {
    "sequence_length": (1, 2**24),
    "time_tokens": (-(2**12), 2**12),
    "num_blocks": (-(2**20), 2**20),
    "num_frames": INTS["num_frames"],
    "num_images": INTS["num_images"],
    "num_segments": INTS["num_segments"],
    "max_crops": INTS["max_crops"],
    "patch_size": INTS["patch_size"],
}
# Least and most of each float.
NUMBERS = {
    "prune_ratio": (-1e3, 1e3),
    "rescale_min": (0.0, 1.0),
    "rope_max_wavelength": (1.0, 1e15),
    "layer_norm_epsilon": (0.0, 1.0),
    "vision_layer_norm_epsilon": (0.0, 1.0),
    "pixel_mean": (-1e3, 1e3),
    "pixel_std": (1e-6, 1e6),
}
# Floats that may be three, one for each color.
CHANNELS = ("pixel_mean", "pixel_std")
FLAGS = (
    "refill",
    "norm_after",
    "attention_bias",
    "rematerialize",
    "tie_embeddings",
)
# Least and most of the ints in each list.
LISTS = {
    "vision_feature_layers": (0, 2**10),
    "vision_token_ids": (0, 2**25),
    "rope_scaling_layers": (0, 2**10),
}
OPTIONAL = ("rope_scaling_layers",)
MAX_LENGTH = 2**10
# Most weights of all layers together.
MAX_WEIGHTS = 2**42


def check_backbone(config, where=None):
    """Raise unless the arguments of a `VideoVLMBackbone` can be a model's.

    Args:
        config: Dict of arguments. Only numbers, bools and lists of ints are
            checked; any may be missing.
        where: Optional str. Name of the file they are from.

    Raises:
        ValueError: If one has a wrong type, or is too small or too large, or
            if together they make more weights than any model has.
    """
    for name in INTS.keys() & config.keys():
        _check(config, name, is_int(config[name], *INTS[name]), INTS, where)
    for name in NUMBERS.keys() & config.keys():
        values = config[name]
        several = name in CHANNELS and isinstance(values, (list, tuple))
        values = values if several else [values]
        good = all(is_number(value, *NUMBERS[name]) for value in values)
        good = good and len(values) in (1, 3)
        _check(config, name, good, NUMBERS, where)
    for name in LISTS.keys() & config.keys():
        if config[name] is None and name in OPTIONAL:
            continue
        good = is_list(config[name], *LISTS[name])
        _check(config, name, good, LISTS, where)
    for name in FLAGS:
        if not isinstance(config.get(name, False), (bool, numbers.Integral)):
            raise _error(name, "True or False", config[name], where)
    if SIZES <= config.keys():
        count = least_weights(config)
        if count > MAX_WEIGHTS:
            rule = f"so small that a model has at most {MAX_WEIGHTS:,} weights"
            raise _error("the sizes of all layers", rule, f"{count:,}", where)


def check_preprocessor(config, where=None):
    """As `check_backbone`, of a `VideoVLMPreprocessor` or its converter."""
    for name in PREPROCESSOR_INTS.keys() & config.keys():
        bounds = PREPROCESSOR_INTS
        good = is_int(config[name], *bounds[name])
        _check(config, name, good, bounds, where)
    sides = config.get("image_size", 1)
    sides = list(sides) if isinstance(sides, (list, tuple)) else [sides]
    if not is_list(sides, *INTS["image_size"]) or len(sides) not in (1, 2):
        rule = f"an int or two from 1 to {INTS['image_size'][1]:,}"
        raise _error("`image_size`", rule, config["image_size"], where)
    if not is_number(config.get("max_fps", 1), 0, math.inf):
        raise _error("`max_fps`", "a number", config["max_fps"], where)
    template = config.get("chat_template", "")
    if not isinstance(template, str):
        raise _error("`chat_template`", "a str", template, where)


def is_int(value, least, most):
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return good and least <= value <= most


def is_number(value, least, most):
    good = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return good and least <= value <= most  # NaN is not.


def is_list(value, least, most):
    if not isinstance(value, (list, tuple)) or len(value) > MAX_LENGTH:
        return False
    return all(is_int(item, least, most) for item in value)


def _check(config, name, good, bounds, where):
    if good:
        return
    least, most = bounds[name]
    kinds = {id(INTS): "an int", id(PREPROCESSOR_INTS): "an int"}
    kinds |= {id(NUMBERS): "a number"}
    kind = kinds.get(id(bounds), f"a list of at most {MAX_LENGTH:,} ints")
    rule = f"{kind} from {least:,} to {most:,}"
    raise _error(f"`{name}`", rule, config[name], where)


def _error(name, rule, value, where):
    received = repr(value)
    received = received if len(received) < 100 else received[:100] + "..."
    place = f" in {where}. Download it or save it again" if where else ""
    return ValueError(
        f"{name} must be {rule}. Received: {name.strip('`')}={received}{place}."
    )


def least_weights(config):
    """How many weights a model with these arguments has at least."""
    vision = config["vision_hidden_dim"]
    inner = config["vision_num_heads"] * config["vision_head_dim"]
    block = vision * (4 * inner + 2 * config["vision_intermediate_dim"])
    total = config["vision_num_layers"] * block
    total += (config["image_size"] // config["patch_size"]) ** 2 * vision
    total += 3 * config["patch_size"] ** 2 * vision
    hidden = config["hidden_dim"]
    heads = config["num_query_heads"] + config["num_key_value_heads"]
    block = hidden * 2 * heads * config["head_dim"]
    block += 3 * hidden * config["intermediate_dim"]
    total += config["num_layers"] * block
    vocabulary = config["vocabulary_size"]
    total += (vocabulary + config["additional_vocabulary_size"]) * hidden
    pooled = config["connector_hidden_dim"] * 2 + hidden
    return total + pooled * config["connector_intermediate_dim"]


def check_fits(config, num_bytes, where):
    """Raise if files of so many bytes cannot hold a backbone's weights.

    So that nothing is allocated for a config that is not theirs.

    Args:
        config: Dict of arguments.
        num_bytes: Int.
        where: Str, the files.

    Raises:
        ValueError: If the weights would take more, at half a byte each.
    """
    if SIZES <= config.keys() and least_weights(config) > 2 * num_bytes:
        raise ValueError(
            "The weights of a preset must be those of its config, which makes "
            f"at least {least_weights(config):,}. Received: {where}, of "
            f"{num_bytes:,} bytes. Download it or save it again."
        )
