"""What weights a model has, told from its sizes: none of them is made."""

import math
from collections import namedtuple

import keras
import numpy as np

from keras_stts.memory.shapes import HEAD
from keras_stts.memory.shapes import shapes_of
from keras_stts.training.parts import PARTS
from keras_stts.training.parts import part_of

FACTORS = tuple(
    f"lora_{kind}_{side}" for kind in ("kernel", "embeddings") for side in "ab"
)
QUANTIZATIONS = ("int8", "int4")
# Rows of a kernel that share a scale in int4, as Keras has it.
INT4_BLOCK = 128

Weight = namedtuple("Weight", ["path", "shape", "dtype", "trainable"])
Weight.__doc__ = """A variable that may not be there.

Attributes:
    path: Str, as Keras names it, such as `"connector/gate/kernel"`.
    shape: Tuple of ints.
    dtype: Str.
    trainable: Bool.
"""


def num_bytes(weight):
    """Bytes of a weight's values."""
    return math.prod(weight.shape) * itemsize(weight.dtype)


def itemsize(dtype):
    """Bytes of a number of this dtype."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def weights_of_model(model):
    """The weights that a `VideoVLM` has now, quantized and with factors."""
    return [
        Weight(v.path, tuple(v.shape), v.dtype, v.trainable)
        for v in model.weights
    ]


def weights_of_config(config, dtype, quantization=None):
    """The weights of a `VideoVLM` that is not made.

    Args:
        config: Dict of the arguments of `VideoVLMBackbone`, defaults too.
        dtype: Str, that of variables.
        quantization: Optional `"int8"` or `"int4"`, of all layers but the
            scorer's, as `VideoVLM.quantize` does.

    Returns:
        List of `Weight`, in the order of the model.
    """
    weights = []
    for path, shape in shapes_of(config).items():
        # In bfloat16 many of a video's scores would be equal.
        own = "float32" if "/score/" in path else dtype
        weights += _stored(Weight(path, shape, own, True), quantization)
    return weights


def quantized(weights, mode):
    """The weights as `VideoVLM.quantize` stores them; they may be so yet."""
    if mode not in QUANTIZATIONS or any(w.dtype == "int8" for w in weights):
        return weights
    return [stored for w in weights for stored in _stored(w, mode)]


def _stored(weight, quantization):
    """A weight as it is stored: itself, or its integers and their scales."""
    layer, name = weight.path.rsplit("/", 1)
    whole = name not in ("kernel", "embeddings") or "scorer" in layer
    if quantization is None or whole:
        return [weight]
    rows, columns = weight.shape
    scale = f"{weight.path}_scale"
    by_row = name == "embeddings"
    if quantization == "int8":
        sizes = (rows if by_row else columns,)
        return [
            Weight(weight.path, weight.shape, "int8", False),
            Weight(scale, sizes, weight.dtype, False),
        ]
    shared = -(-(columns if by_row else rows) // INT4_BLOCK)
    sizes = (rows, shared) if by_row else (shared, columns)
    length = columns if by_row else rows
    return [
        Weight(weight.path, (rows, -(-columns // 2)), "int8", False),
        Weight(scale, sizes, weight.dtype, False),
        Weight(f"{weight.path}_zero", sizes, "int8", False),
        Weight(f"{layer}/g_idx", (length,), "float32", False),
    ]


def part_of_weight(weight):
    """Name of the part that a weight belongs to, the output head apart."""
    if HEAD in weight.path.split("/"):
        return "head"
    return part_of(weight)


def set_trainable(weights, trainable, uses_scorer, rank, names):
    """The weights with what is to be trained, and LoRA's factors.

    Args:
        weights: List of `Weight`.
        trainable: `None` (as they are), `"all"`, `"none"`, `"lora"`, a part
            or a list of parts.
        uses_scorer: Bool. Whether the scorer is run.
        rank: Int. Rank of factors that are not there yet.
        names: Strs, names or paths of layers that get factors.

    Returns:
        List of `Weight`.
    """
    if trainable is None:
        if uses_scorer:
            return weights
        return [_set(w, w.trainable and not _of_scorer(w)) for w in weights]
    if trainable == "lora":
        if not any(_is_factor(w) for w in weights):
            weights = _with_factors(weights, rank, names)
        return [
            _set(w, _is_factor(w) or (_of_scorer(w) and uses_scorer))
            for w in weights
        ]
    parts = parts_of(trainable)
    return [
        _set(
            w,
            _is_float(w)
            and part_of(w) in parts
            and (uses_scorer or not _of_scorer(w)),
        )
        for w in weights
    ]


def parts_of(trainable):
    """Tuple of parts that `trainable` names.

    Raises:
        ValueError: If it names none.
    """
    known = {"all": PARTS, "none": (), **{part: (part,) for part in PARTS}}
    if isinstance(trainable, str) and trainable in known:
        return known[trainable]
    is_list = isinstance(trainable, (list, tuple, set))
    if not is_list or not set(trainable) <= set(PARTS):
        raise ValueError(
            "`trainable` must be None (what is trainable now), "
            '"all", "none", "lora", one of '
            f"{', '.join(PARTS)}, or a list of these. Received: trainable="
            f"{trainable!r}."
        )
    return tuple(trainable)


def _set(weight, trainable):
    return weight._replace(trainable=bool(trainable))


def _is_float(weight):
    scale = weight.path.endswith(("_scale", "/g_idx"))
    return weight.dtype.startswith(("float", "bfloat")) and not scale


def _is_factor(weight):
    return weight.path.endswith(FACTORS)


def have_scorer(weights):
    """Whether a method of pruning has weights among these."""
    return any(map(_of_scorer, weights))


def _of_scorer(weight):
    return part_of(weight) == "scorer"


def _with_factors(weights, rank, names):
    """With factors of the layers of these names, but the scorer's."""
    result, found = [], set()
    for weight in weights:
        result.append(weight)
        layer, name = weight.path.rsplit("/", 1)
        called = {layer, layer.rsplit("/", 1)[-1]} & set(names)
        if name not in ("kernel", "embeddings") or _of_scorer(weight):
            continue
        if called:
            found |= called
            result += _factors(weight, weights, rank)
    unknown = sorted(set(names) - found)
    if unknown or not names:
        raise ValueError(
            "`target_layer_names` must name layers of the model that can have "
            f"factors. Received: {list(names)}, of which "
            f"{', '.join(unknown) or 'there is none'} is unknown."
        )
    return result


def _factors(weight, weights, rank):
    layer, name = weight.path.rsplit("/", 1)
    rows, columns = weight.shape
    dtype = weight.dtype
    if dtype == "int8":
        scale = next(w for w in weights if w.path == f"{weight.path}_scale")
        dtype, packed = scale.dtype, len(scale.shape) == 2
        columns = columns * 2 if packed else columns
    name = name.replace("kernel", "lora_kernel")
    name = name.replace("embeddings", "lora_embeddings")
    return [
        Weight(f"{layer}/{name}_a", (rows, rank), dtype, True),
        Weight(f"{layer}/{name}_b", (rank, columns), dtype, True),
    ]


def cast_weights(weights, dtype):
    """The weights in another dtype; integers, scores and indices stay."""
    kept = ("/score/", "/g_idx")
    return [
        w
        if not w.dtype.startswith(("float", "bfloat"))
        or any(name in w.path for name in kept)
        else w._replace(dtype=dtype)
        for w in weights
    ]


def policy_of(dtype):
    """Tuple of dtype of variables, that of computing, and quantization.

    Raises:
        ValueError: If there is no such policy.
    """
    if dtype is None:
        dtype = keras.config.dtype_policy()
    try:
        policy = keras.dtype_policies.get(dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`dtype` must be a dtype policy of Keras, such as "
            '"mixed_bfloat16", "bfloat16" or "int8_from_bfloat16". Received: '
            f"dtype={dtype!r}."
        ) from error
    modes = {policy.quantization_mode}
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        modes = {p.quantization_mode for p in policy.values()} or {None}
        policy = policy.default_policy
    mode = next((mode for mode in modes if mode), None)
    return policy.variable_dtype, policy.compute_dtype, mode
