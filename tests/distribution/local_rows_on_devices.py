"""What is computed of a video stays on the device that has it."""

import importlib
import re

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

import keras_stts
from keras_stts import ops
from keras_stts.ops import packing
from keras_stts.ops import shown
from keras_stts.ops.merging import merge_tokens
from keras_stts.ops.merging import unmerged
from keras_stts.ops.sequence import prune_sequence
from keras_stts.training import text_loss
from tests.tiny import tiny_batch
from tests.tiny import tiny_model

FRAMES, BLOCKS, WIDTH = 6, 4, 8
KEPT = FRAMES * BLOCKS // 2
PATCH_ID = 7
COLLECTIVE = re.compile(
    r"= (\(?\w+\[.*?) "
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


def show(x, scores):
    selection = selected(scores)
    ids = jnp.full((8, FRAMES * BLOCKS), PATCH_ID)
    mask = jnp.ones_like(ids, dtype="bool")
    sequence = prune_sequence(ids, mask, PATCH_ID, selection)
    is_block = sequence.mask & (sequence.token_ids == PATCH_ID)
    return shown.at_placeholders(x[:, :KEPT], sequence, is_block)


def gather_patches(x, scores):
    pooling = jnp.argsort(scores.reshape(8, -1))[:, :8].reshape(8, 2, 4)
    return shown.gather_patches(x, pooling)[0]


def merge(x, scores):
    return merge_tokens(x, unmerged(x), x, 4)[0]


def attend_in_chunks(x, scores, per_row=3):
    """Some rows at a time, and some of their queries if rows are long."""
    length = FRAMES * BLOCKS // per_row
    heads = jnp.reshape(x, (-1, length, 2, WIDTH // 2))
    bias = jnp.reshape(scores, (-1, 1, 1, length))
    return ops.attention(heads, heads, heads, bias=bias)


def attend_in_small_chunks(x, scores):
    return attend_in_chunks(x, scores, 2)


def attend_to_prefix(x, scores):
    heads = jnp.reshape(x, (-1, FRAMES * BLOCKS, 2, WIDTH // 2))
    seen = jnp.ones(heads.shape[:2], bool)
    mask = seen[:1, None, None]
    prefix = (heads, heads)
    return ops.prefix_attention(
        heads, prefix, heads, heads, prefix_mask=seen, mask=mask
    )


def losses(x, scores):
    labels = jnp.zeros(x.shape[:2], int)
    return text_loss.losses_and_hits(x, labels, lambda x: x, 5)[..., 0]


def slope(function):
    """The gradient of a function of x and scores, by x."""

    def total(*args):
        return jnp.square(function(*args)).sum()

    return jax.grad(total)


def cut(array):
    """The same, one row a device."""
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec("batch")))


def compiled(function, *args):
    """A program whose inputs lie one row a device."""
    return jax.jit(function).lower(*map(cut, args)).compile()


def temporaries(program):
    return program.memory_analysis().temp_size_in_bytes


def collectives(function, *args):
    return COLLECTIVE.findall(compiled(function, *args).as_text())


FUNCTIONS = [pack, unpack, attend, show, gather_patches, merge]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_collectives(function):
    args = random(FRAMES * BLOCKS, WIDTH), random(FRAMES, BLOCKS)
    assert not collectives(function, *args)
    assert not collectives(slope(function), *args)


def cut_small(monkeypatch):
    """Let attention run on few rows and queries at a time."""
    for name in ("keras_stts.ops.attending", "keras_stts.kernels.chunked"):
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "MOST_BYTES", 2**8)


IN_CHUNKS = [attend_in_chunks, attend_in_small_chunks, attend_to_prefix, losses]


@pytest.mark.parametrize("function", IN_CHUNKS)
def test_chunks_are_of_own_rows(function, monkeypatch):
    args = random(FRAMES * BLOCKS, WIDTH), random(FRAMES, BLOCKS)
    both = function, slope(function)
    wanted = [jax.jit(f)(*args) for f in both]
    cut_small(monkeypatch)
    with keras.distribution.DataParallel().scope():
        programs = [compiled(f, *args) for f in both]
    own = [array[:1] for array in args]
    for f, program, out in zip(both, programs, wanted, strict=True):
        assert not COLLECTIVE.findall(program.as_text())
        assert " while(" in program.as_text()
        alone = jax.jit(f).lower(*own).compile()
        # Eight rows on a device would take about eight times as much.
        assert temporaries(program) < 1.5 * temporaries(alone)
        found = program(*map(cut, args))
        np.testing.assert_allclose(found, out, rtol=1e-5, atol=1e-5)


def test_collectives_are_seen():
    """What the tests above would see of a gather over all rows."""

    def take(x, scores):
        flat = jnp.reshape(x, (-1, WIDTH))
        return flat[jnp.argsort(scores.reshape(8, -1))]

    args = random(FRAMES * BLOCKS, WIDTH), random(FRAMES, BLOCKS)
    assert collectives(take, *args)


def arrays_sent(text):
    """Tuples (collective, dtype, shape) of a program."""
    for arrays, kind in COLLECTIVE.findall(text):
        for dtype, dims in re.findall(r"(\w+)\[([0-9,]*)\]", arrays):
            yield kind, dtype, tuple(int(n) for n in dims.split(",") if n)


def gradients_of_a_model(distribution):
    """Weights of a small model, and the program of their gradients."""
    model = tiny_model(
        vision_num_layers=2,
        vision_feature_layers=[1],
        prune_layer=0,
        num_layers=1,
        num_query_heads=4,
        num_key_value_heads=2,
    )
    values = [v.value for v in model.trainable_variables]
    rest = [v.value for v in model.non_trainable_variables]

    def loss(values, x, y, weight):
        logits, _ = model.stateless_call(values, rest, x)
        losses = keras.losses.sparse_categorical_crossentropy(
            y, logits, from_logits=True
        )
        return keras.ops.mean(losses * weight)

    def cut(array):
        layout = distribution.get_data_layout(array.shape)
        return jax.device_put(array, layout.backend_layout)

    data = jax.tree.map(cut, tiny_batch(model, 16))
    shardings = [value.sharding for value in values]
    step = jax.jit(jax.grad(loss), out_shardings=shardings)
    return model.weights, step.lower(values, *data).compile().as_text()


def test_weights_are_gathered_and_rows_are_not(monkeypatch):
    cut_small(monkeypatch)
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((8, 1), ["batch", "model"], devices)
    distribution = keras.distribution.ModelParallel(
        layout_map=keras_stts.VideoVLMBackbone.get_layout_map(mesh),
        batch_dim_name="batch",
    )
    with distribution.scope():
        weights, text = gradients_of_a_model(distribution)
    shapes = {tuple(weight.shape) for weight in weights}
    shapes |= {shape[::-1] for shape in shapes}  # Gradients are made so.
    found = list(arrays_sent(text))
    gathered = {kind for kind, _, shape in found if shape in shapes}
    assert {"all-gather", "all-reduce"} <= gathered
    for kind, dtype, shape in found:
        if kind == "all-to-all":  # Embeddings, by parts of their width.
            assert np.prod(shape) <= 2 * 21 * 16, shape
        elif dtype != "s32":  # Which embeddings.
            small = len(shape) < 2 or shape[0] == 1
            assert small or shape in shapes, shape
