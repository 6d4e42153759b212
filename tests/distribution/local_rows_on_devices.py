"""Packing and adding vision stay on the device that has the video."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from keras_stts import ops
from keras_stts.models.vision_sequence import AddVision
from keras_stts.models.vision_sequence import GatherPatches
from keras_stts.ops import packing
from keras_stts.ops.merging import merge_tokens
from keras_stts.ops.merging import unmerged
from keras_stts.ops.sequence import prune_sequence

FRAMES, BLOCKS, WIDTH = 6, 4, 8
KEPT = FRAMES * BLOCKS // 2
PATCH_ID = 7
COLLECTIVE = re.compile(
    r"= \(?(\w+\[[0-9,]*\]).* "
    r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
    r"(?:-start)?\("
)


def random(*shape):
    x = np.random.default_rng(0).normal(size=(8, *shape))
    return jnp.asarray(x, "float32")


def selected(scores):
    return ops.select_blocks(scores, 0.5)


def pack(x, scores):
    return packing.pack_blocks(x, selected(scores).index)


def unpack(x, scores):
    return packing.unpack_blocks(x[:, :KEPT], selected(scores))


def attend(x, scores):
    selection = selected(scores)
    groups = packing.plan_groups(FRAMES, BLOCKS, KEPT)
    layout = packing.frame_layout(selection, groups)
    heads = jnp.reshape(x[:, :KEPT], (8, KEPT, 2, WIDTH // 2))
    return packing.ragged_attention(heads, heads, heads, layout, groups)


def add_vision(x, scores):
    selection = selected(scores)
    ids = jnp.full((8, FRAMES * BLOCKS), PATCH_ID)
    mask = jnp.ones_like(ids, dtype="bool")
    sequence = prune_sequence(ids, mask, PATCH_ID, selection)
    layer = AddVision(PATCH_ID)
    return layer(x[:, :KEPT], x[:, :KEPT], sequence)


def gather_patches(x, scores):
    pooling = jnp.argsort(scores.reshape(8, -1))[:, :8].reshape(8, 2, 4)
    return GatherPatches()(x, pooling)[0]


def merge(x, scores):
    return merge_tokens(x, unmerged(x), x, 4)[0]


def collectives(function, *args):
    """The collectives of a program whose inputs lie one row a device."""
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    rows = NamedSharding(mesh, PartitionSpec("batch"))
    args = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for x in args]
    program = jax.jit(function).lower(*args).compile().as_text()
    return COLLECTIVE.findall(program)


@pytest.mark.parametrize(
    "function", [pack, unpack, attend, add_vision, gather_patches, merge]
)
def test_no_collectives(function):
    args = random(FRAMES * BLOCKS, WIDTH), random(FRAMES, BLOCKS)
    assert not collectives(function, *args)

    def slope(*args):
        return jax.grad(lambda x: jnp.square(function(x, args[1])).sum())(
            args[0]
        )

    assert not collectives(slope, *args)


def test_collectives_are_seen():
    """What the tests above would see of a gather over all rows."""

    def take(x, scores):
        flat = jnp.reshape(x, (-1, WIDTH))
        return flat[jnp.argsort(scores.reshape(8, -1))]

    args = random(FRAMES * BLOCKS, WIDTH), random(FRAMES, BLOCKS)
    assert collectives(take, *args)
