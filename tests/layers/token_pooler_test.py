import warnings

import numpy as np
import pytest

from keras_stts.layers import TokenPooler
from tests.harness import softmax_attention
from tests.harness import to_numpy

WIDTH = 8


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_it_is_attention_of_the_mean():
    blocks = normal(6, 9, WIDTH)
    pooler = TokenPooler(num_heads=2)
    pooler.build(blocks.shape)
    for seed, variable in enumerate(pooler.weights):
        variable.assign(normal(*variable.shape, seed=seed))

    def project(x, name):
        kernel, bias = (
            to_numpy(v.value) for v in getattr(pooler, name).weights
        )
        return x @ kernel + bias

    mean = blocks.mean(axis=1, keepdims=True)
    query = project(mean, "query").reshape(6, 1, 2, 4)
    key = project(blocks, "key").reshape(6, 9, 2, 4)
    value = project(blocks, "value").reshape(6, 9, 2, 4)
    out = softmax_attention(query, key, value).reshape(6, WIDTH)
    np.testing.assert_allclose(
        to_numpy(pooler(blocks)),
        project(out, "output_dense"),
        rtol=1e-4,
        atol=1e-4,
    )


def test_masked_places_are_as_if_absent():
    blocks = normal(3, 5, WIDTH)
    pooler = TokenPooler(num_heads=2)
    mask = np.array([True, False, True, True, False])
    full = to_numpy(pooler(blocks, mask=mask))
    cut = to_numpy(pooler(blocks[:, mask]))
    np.testing.assert_allclose(full, cut, atol=1e-5)
    spoilt = blocks + 100 * ~mask[:, None]
    np.testing.assert_allclose(
        to_numpy(pooler(spoilt, mask=mask)), full, atol=1e-5
    )


def test_mask_goes_no_further():
    """Nor does Keras warn of it."""
    mask = np.array([True, False, True, True, False])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pooled = TokenPooler(num_heads=2)(normal(3, 5, WIDTH), mask=mask)
    assert getattr(pooled, "_keras_mask", None) is None


def test_initial_weights():
    pooler = TokenPooler(num_heads=4)
    pooler.build((None, 9, 256))
    kernel = to_numpy(pooler.key.kernel.value)
    np.testing.assert_allclose(kernel.std(), 256**-0.5, rtol=0.03)
    # Truncated; torch lets a few through, a plain normal would 2%.
    assert (abs(kernel) > 2.3 * 256**-0.5).mean() < 1e-3
    assert not to_numpy(pooler.key.bias.value).any()


def test_heads_that_do_not_divide_the_width():
    message = r"`num_heads` must divide.*num_heads=3.*shape \(2, 9, 8\)"
    with pytest.raises(ValueError, match=message):
        TokenPooler(num_heads=3)(normal(2, 9, WIDTH))
