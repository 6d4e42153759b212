"""Attention as the device runs it, beside plain float32.

Forward and backward, in float32 and bfloat16, at the lengths and with the
masks that the model has. An error is a share of the norm of what is right.
"""

import functools
from collections import namedtuple

import numpy as np
from keras import ops

import keras_stts
from device import programs
from device import reference
from keras_stts.layers import RaggedPacking
from keras_stts.layers import TokenPruning
from keras_stts.ops import spread_to_patches

# Rounding of bfloat16 is 0.4%; TF32, which a GPU may use, 0.05%.
BOUNDS = {
    "float32": {"cpu": (1e-5, 1e-4), "accelerator": (2e-3, 4e-3)},
    "bfloat16": {"cpu": (1e-2, 2e-2), "accelerator": (1e-2, 2e-2)},
}
Case = namedtuple("Case", ["run", "arrays", "hidden", "bias"])
Case.__doc__ = """Attention, and what it must equal.

Attributes:
    run: Function of query, key, value and, if there is one, bias.
    arrays: List of those, float32.
    hidden: Bool array broadcast to (B, heads, S, S2), True where a query
        must not see a key, or None.
    bias: Bool, whether the last of `arrays` is added to the logits.
"""


def rows(models, short):
    """One row a case and dtype: errors forward and backward."""
    backend = programs.backend()
    place = "accelerator" if backend.on_accelerator() else "cpu"
    backbone = next(iter(models.values())).backbone
    for name, case in cases(backbone, short).items():
        for dtype in _dtypes(name, place):
            bounds = BOUNDS[dtype][place]
            errors = _errors(case, dtype)
            right = errors["outputs"] <= bounds[0]
            right &= all(error <= bounds[1] for error in errors.values())
            yield {
                "case": name,
                "dtype": dtype,
                "error": errors.pop("outputs"),
                "slope_errors": errors,
                "bound": bounds[0],
                "slope_bound": bounds[1],
                "right": bool(right),
            }


def _dtypes(name, place):
    """bfloat16 is what accelerators run, float32 what the tests have."""
    if place == "cpu" or name == "packed frames":
        return "float32", "bfloat16"
    return ("bfloat16",)


def cases(backbone, short):
    """Dict of names to `Case`s of the model's own widths."""
    tower, decoder = backbone.vision_encoder, backbone.language_model
    vision = (tower.num_heads, tower.num_heads, tower.head_dim)
    text = (
        decoder.num_query_heads,
        decoder.num_key_value_heads,
        decoder.head_dim,
    )
    odd, row = (81, 90) if short else (729, 1025)
    found = {
        f"frames of {odd}": _plain(odd, vision),
        "score bias": _score_bias(odd, vision),
        "packed frames": _packed(odd, vision),
        f"prefix of {row + 1}, even": _prefix(row + 1, text),
    }
    if short:
        return found
    return found | {
        f"frames of {odd + 7}, even": _plain(odd + 7, vision),
        "frames of unequal length": _lengths(odd, vision),
        f"prefix of {row}": _prefix(row, text),
    }


def _heads(batch, length, heads):
    """Query, key and value of normal numbers."""
    rng = np.random.default_rng(length)
    queries, keys, width = heads
    return [
        rng.normal(size=(batch, length, n, width)).astype("float32")
        for n in (queries, keys, keys)
    ]


def _plain(length, heads):
    return Case(keras_stts.ops.attention, _heads(2, length, heads), None, False)


def _lengths(length, heads):
    """Each row sees as many of its first keys as there are."""
    counts = np.array([length, length // 2, 1])
    seen = (np.arange(length) < counts[:, None])[:, None, None]
    run = functools.partial(keras_stts.ops.attention, mask=seen)
    return Case(run, _heads(3, length, heads), ~seen, False)


def _score_bias(length, heads):
    """The bias that the scorer learns through."""
    bias = np.random.default_rng(1).uniform(-2, 0, (2, 1, 1, length))

    def run(query, key, value, bias):
        return keras_stts.ops.attention(query, key, value, bias=bias)

    arrays = [*_heads(2, length, heads), bias.astype("float32")]
    return Case(run, arrays, None, True)


def _prefix(length, heads):
    """Most tokens see each other both ways, the others what precedes them."""
    vision = np.arange(length) % 16 > 2
    places = np.arange(length)
    seen = (vision[:, None] & vision) | (places <= places[:, None])
    seen = seen[None, None]
    run = functools.partial(keras_stts.ops.attention, mask=seen)
    return Case(run, _heads(1, length, heads), ~seen, False)


def _packed(num_patches, heads, num_frames=5):
    """Kept patches of a video, each of which sees those of its frame."""
    num_blocks, side = num_patches // 9, int(num_patches**0.5)
    scores = np.random.default_rng(2).beta(
        0.3, 0.3, (1, num_frames, num_blocks)
    )
    selection = TokenPruning(0.5)(scores.astype("float32"))
    packing = RaggedPacking(window=3)
    packing.build((1, num_frames, num_patches, 8))
    frame = ops.convert_to_numpy(selection.index)[0] // num_blocks
    frame = np.repeat(frame, 9)
    kept = spread_to_patches(selection.kept, 3, (side, side))
    counts = ops.convert_to_numpy(kept)[0].sum(-1)
    if not np.array_equal(np.bincount(frame, minlength=num_frames), counts):
        raise ValueError("Frames must keep as many patches as are packed.")

    def run(query, key, value):
        layout = packing.layout(selection)
        return packing.attention(query, key, value, layout)

    hidden = (frame[:, None] != frame)[None, None]
    return Case(run, _heads(1, len(frame), heads), hidden, False)


def _errors(case, dtype):
    """Share of the norm of what is right, of outputs and of each slope."""
    rounded = [_rounded(x, dtype) for x in case.arrays]
    tensors = [ops.convert_to_tensor(x, dtype) for x in case.arrays]
    target = np.random.default_rng(3).normal(size=case.arrays[0].shape)
    target = target.astype("float32")
    outputs, slopes = programs.backend().slopes(
        case.run, tensors, ops.convert_to_tensor(target)
    )
    bias = np.zeros((1, 1, 1, 1), "float32")
    if case.bias:
        bias = rounded[3]
    if case.hidden is not None:
        bias = np.where(case.hidden, -np.inf, bias).astype("float32")
    wanted = list(reference.attention(*rounded[:3], target, bias))
    logits = wanted.pop()
    if case.bias:
        wanted.append(logits.sum((1, 2), keepdims=True))
    found = [_numpy(x) for x in (outputs, *slopes)]
    names = ("outputs", "query", "key", "value", "bias")
    return {n: _error(f, w) for n, f, w in zip(names, found, wanted)}


def _rounded(x, dtype):
    """What is left of float32 numbers in that dtype, float32."""
    return _numpy(ops.convert_to_tensor(x, dtype))


def _numpy(x):
    return np.array(ops.convert_to_numpy(ops.cast(x, "float32")))


def _error(found, wanted):
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    return float(error) if np.isfinite(error) else float("inf")
