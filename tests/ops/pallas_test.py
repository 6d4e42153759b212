"""The kernel for TPUs, interpreted: it gives what chunks of queries give."""

import functools

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("It is about JAX.", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.experimental import pallas as pl  # noqa: E402

from keras_stts import config  # noqa: E402
from keras_stts import ops  # noqa: E402
from keras_stts.kernels import pallas  # noqa: E402
from keras_stts.kernels.chunked import chunked_attention  # noqa: E402
from keras_stts.kernels.pallas import plan  # noqa: E402
from keras_stts.ops import Reach  # noqa: E402
from tests.tiny import SHALLOW
from tests.tiny import tiny_batch  # noqa: E402
from tests.tiny import tiny_model  # noqa: E402


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """In blocks so small that many are left out."""
    for name in ("PART", "MOST_KEYS", "ONE_BLOCK", "FLAT_KEYS"):
        monkeypatch.setattr(plan, name, 16)
    for name in ("MOST_QUERIES", "FLAT_QUERIES"):
        monkeypatch.setattr(plan, name, 32)
    run = functools.partial(pl.pallas_call, interpret=True)
    monkeypatch.setattr(pl, "pallas_call", run)
    yield
    config.set_attention("auto")


def normal(seed, *shape):
    x = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(x, "float32")


def close(run, wanted, *arrays):
    def results(function):
        def loss(*arrays):
            out = function(*arrays)
            return jnp.sum(jnp.sin(out)), out

        step = jax.grad(loss, argnums=range(len(arrays)), has_aux=True)
        return jax.jit(step)(*arrays)

    (slopes, out), (wanted_slopes, wanted_out) = map(results, (run, wanted))
    np.testing.assert_allclose(out, wanted_out, atol=2e-6)
    for one, other in zip(slopes, wanted_slopes):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("length", [33, 81])
def test_whole_frames(length):
    arrays = [normal(i, 2, length, 2, 24) for i in range(3)]
    close(pallas.pallas_attention, chunked_attention, *arrays)


def test_bfloat16_is_near_float32():
    """1% of what there is, and 2% of the gradient."""

    def results(run, *arrays):
        def loss(*arrays):
            out = run(*arrays)
            return jnp.sum(jnp.sin(out.astype("float32"))), out

        step = jax.grad(loss, argnums=range(3), has_aux=True)
        slopes, out = jax.jit(step)(*arrays)
        return [x.astype("float32") for x in (out, *slopes)]

    arrays = [normal(i, 2, 40, 2, 24) for i in range(3)]
    half = [x.astype("bfloat16") for x in arrays]
    found = results(pallas.pallas_attention, *half)
    wanted = results(chunked_attention, *arrays)
    for one, other, bound in zip(found, wanted, [0.01, 0.02, 0.02, 0.02]):
        assert jnp.linalg.norm(one - other) < bound * jnp.linalg.norm(other)


def test_bias_of_keys():
    arrays = [normal(i, 2, 81, 2, 24) for i in range(3)]
    bias = normal(3, 2, 1, 1, 81)
    run, wanted = (
        lambda q, k, v, b, f=f: f(q, k, v, bias=b)
        for f in (pallas.pallas_attention, chunked_attention)
    )
    close(run, wanted, *arrays, bias)


def test_tokens_that_see_each_other_both_ways():
    """Grouped heads; marked tokens see all marked ones, padding is unseen."""
    size, real = 150, 140
    place = jnp.arange(size)[None]
    marked = jnp.asarray(np.random.default_rng(0).uniform(size=(1, size)) > 0.2)
    marked = marked & (place < real)
    reach = Reach(
        stop=jnp.minimum(place + 1, real),
        marked_stop=jnp.where(marked, size, 0),
        marked=marked,
    )
    arrays = [normal(0, 1, size, 4, 128)]
    arrays += [normal(i, 1, size, 2, 128) for i in (1, 2)]
    run, wanted = (
        functools.partial(f, reach=reach)
        for f in (pallas.pallas_attention, chunked_attention)
    )
    close(run, wanted, *arrays)


@pytest.mark.parametrize("rim", [False, True])
def test_kept_patches_of_frames(rim):
    """In place, with frames that keep much, little and nothing."""
    scores = np.random.default_rng(1).uniform(size=(2, 6, 9))
    scores[:, 2] -= 2.0
    scores[:, 3] += 2.0
    mask = np.arange(6) < np.array([[6], [4]])
    selection = ops.select_blocks(jnp.asarray(scores, "float32"), 0.5, mask)
    kept = selection.index.shape[1]
    groups = ops.plan_groups(6, 9, kept)
    layout = ops.frame_layout(selection, groups)
    inside = None
    if rim:
        inside = np.random.default_rng(2).uniform(size=(2, kept, 9)) > 0.3
        inside[..., 0] = True
        inside = jnp.asarray(inside)
    arrays = [normal(i, 2, kept * 9, 2, 24) for i in range(3)]
    real = jnp.repeat(selection.mask, 9, axis=1)[..., None, None]

    def run(query, key, value, kernel):
        config.set_attention(kernel, elsewhere=True)
        out = ops.ragged_attention(
            query, key, value, layout, groups, window=3, patch_mask=inside
        )
        return jnp.where(real, out, 0)

    close(
        functools.partial(run, kernel="pallas"),
        functools.partial(run, kernel="chunked"),
        *arrays,
    )


@pytest.mark.parametrize("frames", [32, 64])
def test_cost_is_of_the_keys_that_are_run(monkeypatch, frames):
    """Of as many full frames as are kept at most, and of those half full."""
    monkeypatch.undo()
    length, size = 32 * 729, 32 * 729 // frames
    made = plan.make_plan(*2 * [(1, length, 16, 72)], span=729)
    start = jnp.arange(length)[None] // size * size
    ranges = plan.ranges_of(Reach(start=start, stop=start + size), made)
    first, stop = plan.visits(ranges, made)["parts"]
    run = float((stop - first).sum()) * made.part * made.keys / made.pieces
    assert run / length < 1.01 * made.seen
    if size == 729:
        assert run / length > 0.99 * made.seen


def test_train_step_of_a_pruned_model():
    model = tiny_model(
        image_size=12,
        patch_size=2,
        window=3,
        num_frames=3,
        prune_ratio=0.5,
        rematerialize=True,
        **SHALLOW,
    )
    x, *_ = tiny_batch(model, text_length=6)
    frozen = [v.value for v in model.non_trainable_variables]

    def loss(weights):
        logits, *_ = model.stateless_call(weights, frozen, x, training=True)
        return jnp.mean(jnp.square(logits))

    weights = [v.value for v in model.trainable_variables]
    results = []
    for kernel in ("pallas", "chunked"):
        config.set_attention(kernel, elsewhere=True)
        step = jax.jit(jax.value_and_grad(lambda weights: loss(weights)))
        traced = step.trace(weights)
        program = str(traced.jaxpr)
        assert ("keras_stts_attention" in program) == (kernel == "pallas")
        run = traced.lower().compile()
        results.append(jax.tree.leaves(run(weights)))
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_reports_say_what_the_kernels_run():
    config.set_attention("pallas", elsewhere=True)
    model = tiny_model()
    rows = {row["kind"]: row for row in model.attention_report(num_frames=64)}
    for kind in ("frames", "frames, score bias", "packed", "prefix"):
        assert rows[kind]["kernel"] == "pallas" and rows[kind]["reason"] is None
    (packed,) = rows["packed"]["runs"]  # Frames lie one after the other.
    kept = 128 * 4
    assert (packed.rows, packed.queries, packed.keys) == (1, kept, kept)
    assert packed.run_keys <= kept
    (prefix,) = rows["prefix"]["runs"]
    assert prefix.pieces > 1 and prefix.run_queries >= prefix.queries
    assert "'pallas'" in rows["text"]["reason"]
    padded = model.flops(64, layout="padded")
    assert padded["total"] != model.flops(64)["total"]
