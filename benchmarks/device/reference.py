"""Attention in plain float32 NumPy, and its slopes.

No framework, so that none is trusted with what it is compared to.
"""

import numpy as np


def attention(query, key, value, target, bias=0.0):
    """Outputs, and slopes of the sum of their product with `target`.

    Args:
        query: Array (B, S, heads, head_dim).
        key: Array (B, S2, key_heads, head_dim).
        value: Array of the shape of `key`.
        target: Array of the shape of `query`.
        bias: Array broadcast to (B, heads, S, S2), added to the logits;
            -inf where a query must not see a key.

    Returns:
        Tuple of outputs, slopes in query, key and value, and those in the
        logits (B, heads, S, S2).
    """
    repeats = query.shape[2] // key.shape[2]
    q, k, v, t = (
        x.astype("float32").swapaxes(1, 2) for x in (query, key, value, target)
    )
    k, v = (np.repeat(x, repeats, axis=1) for x in (k, v))
    scale = query.shape[-1] ** -0.5
    weights = _softmax(q @ k.swapaxes(2, 3) * scale + bias)
    outputs = weights @ v
    into_weights = t @ v.swapaxes(2, 3)
    mean = np.sum(weights * into_weights, axis=-1, keepdims=True)
    logits = weights * (into_weights - mean)
    into_query = logits @ k * scale
    into_key = _joined(logits.swapaxes(2, 3) @ q * scale, repeats)
    into_value = _joined(weights.swapaxes(2, 3) @ t, repeats)
    slopes = (x.swapaxes(1, 2) for x in (into_query, into_key, into_value))
    return outputs.swapaxes(1, 2), *slopes, logits


def _softmax(logits):
    logits = logits - np.max(logits, axis=-1, keepdims=True)
    weights = np.exp(logits, dtype="float32")
    return weights / np.sum(weights, axis=-1, keepdims=True)


def _joined(x, repeats):
    """Slopes in heads that several queries share: (B, heads, S, d)."""
    batch, heads, *rest = x.shape
    return x.reshape(batch, heads // repeats, repeats, *rest).sum(2)
