"""The layers in a vision transformer of someone else's, as a page shows."""

import functools

import keras
import numpy as np
import pytest
from keras import ops
from keras_hub.src.models.siglip.siglip_layers import SigLIPEncoderLayer

from keras_stts.ops import attention
from keras_stts.ops import spread_to_patches
from tests import pages
from tests.harness import compiled
from tests.harness import to_numpy

DEFINED = pages.run(
    pages.block("docs/own_vit.md", "class PrunedBlocks").split("\nsiglip =")[0]
)
PrunedBlocks, run_block = DEFINED["PrunedBlocks"], DEFINED["run_block"]
B, T, N, D = 2, 3, 36, 8  # Videos, frames, patches of 6x6, width.


@pytest.fixture(scope="module")
def blocks():
    blocks = [SigLIPEncoderLayer(D, 2, intermediate_dim=12) for _ in range(3)]
    for block in blocks:  # As those of `backbone.encoder_layers` are.
        block.build((None, N, D))
        block.built = True
    return blocks


def patches():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, N, D)).astype("float32")


def pruned(prune_ratio, blocks):
    layer = PrunedBlocks(blocks, (6, 6), prune_ratio, prune_layer=0)
    layer(keras.Input((T, N, D)))
    return layer


def on_the_grid(layer):
    """`layer`, what it leaves put back on the grid: (B, T, N, D), kept."""

    def run(x):
        x, selection = layer(x)
        return layer.packing.unpack(x, selection), selection.kept

    return compiled(run)


def test_without_pruning_these_are_the_plain_blocks(blocks):
    layer = pruned(0, blocks)
    layer.bias.rescale_min = 1.0  # A bias of nothing.

    def plain(x):
        for block in blocks:
            x = block(x)
        return x

    got, kept = on_the_grid(layer)(patches())
    assert kept.all()
    wanted = compiled(plain)(patches().reshape(-1, N, D))
    np.testing.assert_allclose(
        got, wanted.reshape(got.shape), rtol=1e-4, atol=1e-4
    )


def test_pruned_patches_are_as_if_masked(blocks):
    layer = pruned(0.5, blocks)

    def masked(x, kept):
        """Whole frames throughout, the keys of pruned patches hidden."""
        x = ops.reshape(x, (-1, N, D))
        x = blocks[0](x)
        bias = layer.bias(layer.scorer(ops.reshape(x, (-1, T, N, D))))
        seen = spread_to_patches(ops.cast(kept, "float32"), 3, (6, 6))
        hide = -1e9 * (1 - seen)
        for block, bias in ((blocks[1], bias), (blocks[2], hide)):
            bias = ops.reshape(bias, (-1, 1, 1, N))
            x = run_block(block, x, functools.partial(attention, bias=bias))
        x = ops.reshape(x, (-1, T, N, D))
        return ops.where(seen[..., None] > 0, x, 0.0)

    got, kept = on_the_grid(layer)(patches())
    assert kept.sum() == B * T * 4 / 2
    wanted = compiled(masked)(patches(), kept)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_fit_trains_the_scorer(blocks):
    layer = pruned(0.5, blocks)
    layer.scorer.mlp.auxiliary_loss = None  # The task's loss alone.
    inputs = keras.Input((T, N, D))
    x, _ = layer(inputs)
    x = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, x)
    model.compile("adam", "mse")
    weights = layer.scorer.trainable_variables
    before = to_numpy([v.value for v in weights])
    history = model.fit(patches(), np.ones((B, 1)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert len(weights) == 14
    for variable, old in zip(weights, before):
        # The bias of the keys cancels in the softmax.
        if not variable.path.endswith("key/bias"):
            new = to_numpy(variable.value)
            assert np.isfinite(new).all()
            assert (new != old).any(), variable.path


def test_readmes_block_is_saved_and_loaded_again(tmp_path, monkeypatch):
    """With 14x14 patches, which 3x3 blocks do not divide."""
    monkeypatch.chdir(tmp_path)
    made = pages.run(pages.block("docs/own_vit.md", "class PrunedBlocks"))
    again, pruned = made["model"], made["pruned"]
    x = np.random.default_rng(0).normal(size=(1, 8, 196, 32)).astype("float32")

    def run(x):
        wanted, selection = pruned(x)
        grid = pruned.packing.unpack(wanted, selection)
        return wanted, again(x), grid

    wanted, got, grid = compiled(run)(x)
    assert wanted.shape == (1, 8 * 25 // 2 * 9, 32)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    assert grid.shape == (1, 8, 196, 32) and np.isfinite(grid).all()
    assert len(again.weights) == len(pruned.weights)
