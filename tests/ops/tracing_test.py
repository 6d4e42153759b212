"""Each operation run eagerly and compiled, with gradients, in each dtype."""

import functools
import importlib

import keras
import numpy as np
import pytest
from keras import ops as K

from keras_stts import ops
from keras_stts.ops.sequence import prune_sequence
from tests.harness import gradient

BACKEND = keras.config.backend()
B, T, N, D = 2, 3, 12, 8  # Frames of 3x4 patches.
GRID, WINDOW, P = (3, 4), 2, 4  # One row of padding.
# Lists, because torch.compile takes no NumPy arrays.
FRAME_MASK = [[True] * 3, [True, True, False]]
# Two frame marks and the placeholders of twelve blocks.
TOKEN_IDS = [[1, *[7] * 8, 1, *[7] * 4]] * B
BLOCK_MASK = ops.block_mask(GRID, WINDOW).tolist()


def scores_of(x):
    """Scores (B, T, P) that a gradient can pass."""
    return K.sigmoid(K.mean(K.cast(x[:, :, :P], "float32"), axis=-1))


def select(x):
    mask = K.convert_to_tensor(FRAME_MASK)
    return ops.select_blocks(scores_of(x), 0.5, mask)


def scorer_input(x):
    return ops.concat_previous_frame(x)


def similarity(x):
    return ops.neighbor_similarity(x)


def auxiliary_loss(x):
    mask = K.convert_to_tensor(FRAME_MASK)
    nearby = ops.neighbor_similarity(x[:, :, :P])
    return ops.auxiliary_loss(scores_of(x), nearby, mask)


def blocks_and_back(x):
    blocks = ops.to_blocks(x, WINDOW, GRID)
    return ops.from_blocks(blocks * blocks, WINDOW, GRID)


def biased_attention(x):
    bias = ops.score_bias(scores_of(x), WINDOW, GRID)
    heads = K.reshape(x, (B * T, N, 2, D // 2))
    bias = K.reshape(bias, (-1, 1, 1, N))
    return ops.attention(heads, heads, heads, bias=bias)


def ragged_attention(x):
    selection = select(x)
    groups = ops.plan_groups(T, P, selection.index.shape[1])
    blocks = K.reshape(ops.to_blocks(x, WINDOW, GRID), (B, T * P, -1))
    packed = ops.pack_blocks(blocks, selection.index)
    heads = K.reshape(packed, (B, -1, 2, D // 2))
    mask = K.convert_to_tensor(BLOCK_MASK)
    out = ops.ragged_attention(
        *(heads, heads, heads),
        ops.frame_layout(selection, groups),
        groups,
        window=WINDOW,
        patch_mask=K.take(mask, selection.index % P, axis=0),
    )
    out = K.reshape(out, (B, -1, WINDOW**2, D))
    return ops.unpack_blocks(out, selection)


def grouped_prefix_attention(x):
    heads = K.reshape(x, (B, T * N, 4, D // 4))
    shared = heads[:, :5, :2], 2 * heads[:, :5, :2]
    texts = K.concatenate([heads, heads], axis=1)  # Two a prefix.
    texts = K.reshape(texts, (2 * B, T * N, 4, D // 4))
    return ops.prefix_attention(
        texts,
        shared,
        *(texts[:, :, :2], texts[:, :, 2:]),
        prefix_mask=K.ones((B, 5), dtype="bool"),
        mask=K.ones((1, 1, T * N, T * N), dtype="bool"),
    )


def pruned_sequence(x):
    """What the kept blocks bring to the tokens that stay."""
    selection = select(x)
    ids = K.convert_to_tensor(TOKEN_IDS)
    real = K.ones((B, ids.shape[1]), dtype="bool")
    sequence = prune_sequence(ids, real, 7, selection)
    blocks = K.reshape(x[:, :, :P], (B, T * P, D))
    packed = ops.pack_blocks(blocks, selection.index)
    at_tokens = ops.pack_blocks(packed, sequence.block)
    is_block = K.cast(sequence.token_ids == 7, x.dtype)
    return at_tokens * is_block[..., None]


def samples_of_a_row(x):
    """What two videos a row bring to their tokens, and their loss."""
    segments = K.convert_to_tensor([[0, 1, 1], [0, 0, 0]], "int32")
    mask = K.convert_to_tensor(FRAME_MASK)
    nearby = ops.neighbor_similarity(x[:, :, :P], segments=segments)
    loss = ops.auxiliary_loss(scores_of(x), nearby, mask, segments=segments)
    selection = ops.select_blocks(scores_of(x), 0.5, mask, segments, 2)
    ids = K.convert_to_tensor(TOKEN_IDS)
    sequence = prune_sequence(
        *(ids, K.ones((B, ids.shape[1]), dtype="bool"), 7, selection),
        segments=K.convert_to_tensor([[0] * 5 + [1] * 9, [0] * 14], "int32"),
        num_segments=2,
    )
    pairs = ops.concat_previous_frame(x[:, :, :P], segments)
    packed = ops.pack_blocks(
        K.reshape(pairs, (B, T * P, 2 * D)), selection.index
    )
    at_tokens = ops.pack_blocks(packed, sequence.block)
    weights = K.cast(sequence.positions + 1, x.dtype)[..., None]
    return at_tokens * weights * K.cast(loss, x.dtype)


FUNCTIONS = [
    scorer_input,
    similarity,
    auxiliary_loss,
    blocks_and_back,
    biased_attention,
    ragged_attention,
    grouped_prefix_attention,
    pruned_sequence,
]
if BACKEND == "torch":  # The others compile it in `segments_test.py`.
    FUNCTIONS.append(samples_of_a_row)


def inputs():
    """Patches that bfloat16 and float16 hold exactly, so rank alike."""
    rng = np.random.default_rng(0)
    return rng.integers(-64, 64, (B, T, N, D)).astype("float32") / 32


def total(function, dtype="float32"):
    """A scalar of float32 inputs, `function` run in `dtype`."""

    def run(x):
        out = K.cast(function(K.cast(x, dtype)), "float32")
        return K.sum(K.sin(out))  # Each element has a slope of its own.

    return run


def torch_compiled(function):
    if BACKEND != "torch":
        return function
    import torch

    torch._dynamo.reset()  # It traces one piece of code eight times at most.
    return torch.compile(function, backend="aot_eager", fullgraph=True)


@functools.cache
def compiled_gradient(function):
    return gradient(torch_compiled(total(function)))(inputs())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_compiled_gradients_are_the_eager_ones(function):
    got = compiled_gradient(function)
    assert np.abs(got).max() > 1e-4
    if BACKEND == "jax":  # Where each step would be compiled by itself.
        wanted = slope_along(total(function), got)
        np.testing.assert_allclose(np.sum(got * got), wanted, rtol=0.02)
    else:
        wanted = gradient(total(function), compile=False)(inputs())
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def slope_along(function, direction):
    """Of eager values, by a central difference."""
    step = 1e-3 / np.abs(direction).max()
    ahead, behind = (
        float(function(K.convert_to_tensor(inputs() + sign * direction)))
        for sign in (step, -step)
    )
    return (ahead - behind) / (2 * step)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_low_precision(function):
    """Gradients are finite, and near those of float32."""
    dtypes = ["bfloat16", "float16"]
    if BACKEND == "jax" and function in (biased_attention, ragged_attention):
        dtypes.remove("float16")  # JAX has no such gradient on a CPU.

    def both(x):
        low = [total(function, d)(x[i]) for i, d in enumerate(dtypes)]
        return sum(low)

    got = gradient(both)(np.stack([inputs()] * len(dtypes)))
    assert np.isfinite(got).all()
    wanted = compiled_gradient(function)
    scale = np.abs(wanted).max()
    for slope, share in zip(got, (0.1, 0.02)):
        np.testing.assert_allclose(slope, wanted, atol=share * scale)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_scores_are_float32(dtype):
    x = K.cast(inputs(), dtype)
    scores = scores_of(x)
    outputs = {
        "similarity": ops.neighbor_similarity(x),
        "rescaled": ops.rescale_scores(scores, 2),
        "bias": ops.score_bias(scores, WINDOW, GRID),
        "loss": ops.auxiliary_loss(
            scores, ops.neighbor_similarity(x[:, :, :P])
        ),
    }
    for name, output in outputs.items():
        got = keras.backend.standardize_dtype(output.dtype)
        assert got == "float32", name


@pytest.mark.skipif(BACKEND != "torch", reason="torch's meta device")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_are_found_without_running(function):
    """Else Keras would run a model on 83 and 89 videos to know its shapes."""
    import torch

    with keras.device("meta"):
        x = torch.ones((B, T, N, D), device="meta")
        out = function(x)
    assert out.device.type == "meta"
    assert out.shape == function(torch.ones((B, T, N, D))).shape


@pytest.mark.skipif(BACKEND != "torch", reason="torch.compile")
def test_groups_are_not_planned_within_the_graph(monkeypatch):
    """It would take minutes to trace the search for a long video."""
    import torch

    packing = importlib.import_module("keras_stts.ops.packing")
    search = packing._search_cuts

    def untraceable(*args):
        torch._dynamo.graph_break()  # Does nothing unless traced.
        return search(*args)

    monkeypatch.setattr(packing, "_search_cuts", untraceable)
    run = torch.compile(
        lambda x: x * len(ops.plan_groups(5, 4, 10)),
        backend="eager",
        fullgraph=True,
    )
    assert run(torch.ones(())) == 5
