"""The kernels for TPUs, interpreted: each device runs its rows and heads."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax.experimental import pallas as pl

from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.pallas import pallas_attention
from keras_stts.kernels.pallas import plan
from keras_stts.ops import Reach


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    for name in ("PART", "MOST_KEYS", "ONE_BLOCK"):
        monkeypatch.setattr(plan, name, 16)
    monkeypatch.setattr(plan, "MOST_QUERIES", 32)
    run = functools.partial(pl.pallas_call, interpret=True)
    monkeypatch.setattr(pl, "pallas_call", run)


def normal(seed, *shape):
    x = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(x, "float32")


def distribution():
    mesh = keras.distribution.DeviceMesh((4, 2), ["batch", "model"])
    layouts = keras.distribution.LayoutMap(mesh)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name="batch"
    )


def results(run, arrays, reach):
    """The output of attention, and its gradients."""

    def loss(query, key, value, *bias):
        bias = bias[0] if bias else None
        out = run(query, key, value, bias=bias, reach=reach)
        return jnp.sum(jnp.sin(out)), out

    step = jax.grad(loss, argnums=range(len(arrays)), has_aux=True)
    return jax.tree.leaves(jax.jit(step)(*arrays))


@pytest.mark.parametrize(
    "rows,heads,key_heads,width,bias_rows",
    [(8, 2, 2, 24, 8), (8, 2, 2, 24, 1), (3, 3, 3, 24, 3), (4, 4, 2, 128, 0)],
    ids=["rows", "one bias", "indivisible", "grouped heads"],
)
def test_on_a_mesh(rows, heads, key_heads, width, bias_rows):
    size = 40
    arrays = [normal(0, rows, size, heads, width)]
    arrays += [normal(i, rows, size, key_heads, width) for i in (1, 2)]
    reach = None
    if bias_rows:
        arrays.append(normal(3, bias_rows, 1, 1, size))
    else:
        reach = Reach(stop=jnp.arange(1, size + 1)[None])
    wanted = results(chunked_attention, arrays, reach)
    with distribution().scope():
        found = results(pallas_attention, arrays, reach)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=1e-5)
