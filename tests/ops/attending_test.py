import keras
import numpy as np
import pytest
from keras import ops as K

from keras_stts import ops
from tests.harness import compiled
from tests.harness import gradient
from tests.harness import softmax_attention
from tests.harness import to_numpy

B, S, S1, S2, HEAD_DIM = 2, 3, 5, 4, 8


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_attention(key_heads):
    query = normal(0, B, S, 4, HEAD_DIM)
    key, value = normal(1, 2, B, S2, key_heads, HEAD_DIM)
    mask = np.tril(np.ones((S, S2), bool))[None, None]
    got = ops.attention(query, key, value, mask=mask)
    wanted = softmax_attention(query, key, value, mask)
    np.testing.assert_allclose(to_numpy(got), wanted, atol=1e-5)


def test_bias_is_added_to_the_logits():
    query = normal(0, B, S, 4, HEAD_DIM)
    key, value = normal(1, 2, B, S2, 4, HEAD_DIM)
    mask = np.array([True, False, True, True])
    bias = np.where(mask, 0.0, -1e9)[None, None, None].astype("float32")
    got = ops.attention(query, key, value, bias=bias)
    wanted = softmax_attention(query, key, value, mask)
    np.testing.assert_allclose(to_numpy(got), wanted, atol=1e-5)


# Sequences a prefix, heads, key heads.
PREFIX_CASES = [(1, 2, 2), (1, 4, 2), (3, 4, 2), (3, 4, 1)]


def prefix_case(repeats, heads, key_heads):
    query = normal(0, B * repeats, S, heads, HEAD_DIM)
    prefix = normal(1, 2, B, S1, key_heads, HEAD_DIM)
    key, value = normal(2, 2, B * repeats, S2, key_heads, HEAD_DIM)
    prefix_mask = np.arange(S1) < np.array([[S1], [3]])
    # Each sequence sees something else of its own keys.
    mask = np.random.default_rng(3).uniform(size=(B * repeats, 1, S, S2))
    return query, prefix, key, value, prefix_mask, mask > 0.4


def prefix_attention(query, prefix, key, value, prefix_mask, mask):
    prefix = (prefix[0], prefix[1])
    return ops.prefix_attention(
        query, prefix, key, value, prefix_mask=prefix_mask, mask=mask
    )


@pytest.mark.parametrize("repeats, heads, key_heads", PREFIX_CASES)
def test_prefix_attention_is_attention_to_both(repeats, heads, key_heads):
    case = prefix_case(repeats, heads, key_heads)
    query, prefix, key, value, prefix_mask, mask = case
    got = compiled(prefix_attention)(*case)
    shared = np.repeat(prefix, repeats, axis=1)
    shared_mask = np.repeat(prefix_mask, repeats, axis=0)[:, None, None]
    shared_mask = np.broadcast_to(shared_mask, (B * repeats, 1, S, S1))
    wanted = softmax_attention(
        query,
        np.concatenate([shared[0], key], axis=1),
        np.concatenate([shared[1], value], axis=1),
        np.concatenate([shared_mask, mask], axis=-1),
    )
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("argument", ["query", "prefix", "value"])
def test_gradients_of_prefix_attention(argument):
    repeats = 3
    case = dict(
        zip(
            ("query", "prefix", "key", "value", "prefix_mask", "mask"),
            prefix_case(repeats, 4, 2),
        )
    )
    names = [argument, *(name for name in case if name != argument)]
    weights = normal(4, *case["query"].shape)

    def joined(query, prefix, key, value, prefix_mask, mask):
        shared = K.repeat(prefix, repeats, axis=1)
        shared_mask = K.repeat(prefix_mask, repeats, axis=0)[:, None, None]
        shared_mask = K.broadcast_to(shared_mask, (B * repeats, 1, S, S1))
        return ops.attention(
            query,
            K.concatenate([shared[0], key], axis=1),
            K.concatenate([shared[1], value], axis=1),
            mask=K.concatenate([shared_mask, mask], axis=-1),
        )

    def slope(function):
        def total(*arrays):
            out = function(**dict(zip(names, arrays)))
            return K.sum(K.multiply(out, weights))

        return gradient(total)(*(case[name] for name in names))

    got, wanted = slope(prefix_attention), slope(joined)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="traces with open shapes"
)
def test_prefix_attention_with_an_open_number_of_videos():
    import tensorflow as tf

    case = prefix_case(3, 4, 2)
    shapes = [(None, *x.shape[1:]) for x in case]
    shapes[1] = (2, None, *case[1].shape[2:])
    specs = [tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, case)]
    run = tf.function(prefix_attention, input_signature=specs)
    got = run(*(tf.convert_to_tensor(x) for x in case))
    np.testing.assert_allclose(got, prefix_attention(*case), atol=1e-6)
