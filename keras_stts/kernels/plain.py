"""Attention by its formula, with float32 logits of all queries and keys."""

import keras
from keras import ops


def plain_attention(query, key, value, mask=None, bias=None):
    """See `keras_stts.ops.attention`. Its memory grows with S * S2.

    PyTorch chooses a kernel of its own.
    """
    if keras.config.backend() == "torch":
        return _torch_attention(query, key, value, mask, bias)
    length, heads, head_dim = query.shape[1:]
    key_heads = key.shape[2]
    groups = heads // key_heads
    query = ops.reshape(query, (-1, length, key_heads, groups, head_dim))
    logits = grouped_logits(query, key) * head_dim**-0.5
    if bias is not None:
        logits = logits + ops.cast(_by_group(bias, key_heads), "float32")
    if mask is not None:
        logits = hide(logits, _by_group(mask, key_heads))
    weights = ops.cast(ops.softmax(logits, axis=-1), value.dtype)
    out = ops.einsum("bkgqs,bskd->bqkgd", weights, value)
    return ops.reshape(out, (-1, length, heads, head_dim))


def grouped_logits(query, key):
    """(B, S, key_heads, G, d), (B, S2, key_heads, d) -> float32 logits."""
    if keras.config.backend() == "jax":
        import jax.numpy as jnp

        return jnp.einsum(
            "bqkgd,bskd->bkgqs",
            query,
            key,
            preferred_element_type="float32",
        )
    logits = ops.einsum("bqkgd,bskd->bkgqs", query, key)
    return ops.cast(logits, "float32")


def hide(logits, mask):
    if keras.config.backend() == "torch":
        # A Python number: a tensor would be copied to the device.
        return logits.masked_fill(~mask, -1e30)
    return ops.where(mask, logits, ops.cast(-1e30, logits.dtype))


def _by_group(x, key_heads):
    """(B, heads or 1, ...) -> (B, key_heads or 1, G or 1, ...)."""
    if x.shape[1] == 1:
        return x[:, :, None]
    shape = ops.shape(x)
    return ops.reshape(x, (shape[0], key_heads, -1, *shape[2:]))


def _torch_attention(query, key, value, mask, bias):
    import torch

    head_dim = query.shape[-1]
    extra = None
    if bias is not None and bias.shape[1] == bias.shape[2] == 1:
        # As a feature of the keys, whose gradient needs no (S, S2) array.
        query, key, value = with_key_bias(query, key, value, bias)
        bias = None
    if bias is not None:
        extra = ops.cast(bias, query.dtype)
        if mask is not None:
            extra = torch.where(mask, extra, float("-inf"))
    elif mask is not None:
        extra = mask
    out = torch.nn.functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (query, key, value)),
        attn_mask=extra,
        scale=head_dim**-0.5,
        enable_gqa=query.shape[2] != key.shape[2],
    )
    return out.transpose(1, 2)[..., :head_dim]


def with_key_bias(query, key, value, bias):
    """Add a bias of keys to the logits of a kernel that takes no bias.

    Queries get one more feature, which is 1, and keys one that is the bias:
    it is in their product. Values get zeros. The new width is a multiple of 8.

    Args:
        query: Tensor (B, S, heads, head_dim).
        key: Tensor (B, S2, key_heads, head_dim).
        value: Tensor of the shape of `key`.
        bias: Tensor (B or 1, 1, 1, S2), added to the scaled logits.

    Returns:
        Tuple (query, key, value) of more than `head_dim` features.
    """
    head_dim, dtype = query.shape[-1], query.dtype
    bias = ops.cast(ops.transpose(bias, (0, 3, 1, 2)), "float32")
    bias = ops.cast(bias * head_dim**0.5, dtype)
    more = [(0, 0)] * 3 + [(0, 8 - head_dim % 8)]
    query, key, value = (ops.pad(x, more) for x in (query, key, value))
    first = ops.cast(ops.arange(query.shape[-1]) == head_dim, dtype)
    return query + first, key + bias * first, value
