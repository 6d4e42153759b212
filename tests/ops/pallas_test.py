"""The kernel for TPUs, interpreted: it gives what chunks of queries give."""

import functools

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("It is about JAX.", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from keras_stts import ops  # noqa: E402
from keras_stts.kernels import pallas  # noqa: E402
from keras_stts.kernels.chunked import chunked_attention  # noqa: E402
from keras_stts.ops import Reach  # noqa: E402


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    pltpu = pytest.importorskip("jax.experimental.pallas.tpu")
    for name, size in [("MOST_QUERIES", 32), ("MOST_KEYS", 64)]:
        monkeypatch.setattr(pallas, name, size)
    monkeypatch.setattr(pallas, "ONE_BLOCK", 64)
    with pltpu.force_tpu_interpret_mode():
        yield


def normal(seed, *shape):
    x = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(x, "float32")


def close(run, wanted, *arrays):
    np.testing.assert_allclose(run(*arrays), wanted(*arrays), atol=2e-6)

    def slopes(function):
        def loss(*arrays):
            return jnp.sum(jnp.sin(function(*arrays)))

        return jax.grad(loss, argnums=range(len(arrays)))(*arrays)

    for one, other in zip(slopes(run), slopes(wanted)):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("length", [33, 81])
def test_whole_frames(length):
    arrays = [normal(i, 2, length, 2, 24) for i in range(3)]
    close(pallas.pallas_attention, chunked_attention, *arrays)


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
def test_kept_patches_of_frames(rim, monkeypatch):
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
        monkeypatch.setenv("KERAS_STTS_ATTENTION", kernel)
        out = ops.ragged_attention(
            query, key, value, layout, groups, window=3, patch_mask=inside
        )
        return jnp.where(real, out, 0)

    close(
        functools.partial(run, kernel="pallas"),
        functools.partial(run, kernel="chunked"),
        *arrays,
    )
