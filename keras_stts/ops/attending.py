"""Softmax attention, the one place where it is called."""

from keras import ops

from keras_stts.kernels.choice import chosen_kernel
from keras_stts.kernels.chunked import MOST_BYTES
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.chunked import map_pieces
from keras_stts.kernels.chunked import rematerialized
from keras_stts.kernels.notes import note
from keras_stts.kernels.plain import grouped_logits
from keras_stts.kernels.plain import hide
from keras_stts.kernels.torch import torch_attention


def attention(query, key, value, mask=None, bias=None, *, reach=None):
    """Scaled dot-product attention.

    Its memory grows linearly with the sequence length, forward and backward.
    `keras_stts.config.set_attention` chooses the kernel that runs it.

    Args:
        query: Tensor (B, S, heads, head_dim).
        key: Tensor (B, S2, key_heads, head_dim); `key_heads` divides `heads`
            (grouped-query attention).
        value: Tensor of the shape of `key`.
        mask: Optional bool tensor broadcast to (B, heads, S, S2), True where
            a query may see a key; each query sees at least one.
        bias: Optional tensor broadcast to (B, heads, S, S2), added to the
            logits. Not together with `mask`.
        reach: Optional `keras_stts.ops.Reach`, a mask whose memory is linear
            in S and S2.

    Returns:
        Tensor (B, S, heads, head_dim).
    """
    query, key, value = map(ops.convert_to_tensor, (query, key, value))
    mask, bias = (None if x is None else _four_axes(x) for x in (mask, bias))
    run = _run_by(chosen_kernel())
    return run(query, key, value, mask=mask, bias=bias, reach=reach)


def _run_by(kernel):
    if kernel == "pallas":
        from keras_stts.kernels.pallas import pallas_attention

        return pallas_attention
    if kernel == "cudnn":
        from keras_stts.kernels.cudnn import cudnn_attention

        return cudnn_attention
    if kernel == "torch":
        return torch_attention
    return chunked_attention


def _four_axes(x):
    x = ops.convert_to_tensor(x)
    return ops.reshape(x, (*(4 - len(x.shape)) * (1,), *ops.shape(x)))


def prefix_attention(query, prefix, key, value, *, prefix_mask, mask):
    """Attention of each sequence to a shared prefix and to itself.

    One softmax covers both, without joining their keys and values: the prefix
    of a video is long, and decoding would copy it at every step.

    Args:
        query: Tensor (B * R, S, heads, head_dim): R sequences for each prefix,
            with the sequences of one prefix side by side.
        prefix: Tuple (key, value) of tensors (B, S1, key_heads, head_dim).
        key: Tensor (B * R, S2, key_heads, head_dim).
        value: Tensor of the shape of `key`.
        prefix_mask: Bool tensor (B, S1), False for padding of the prefix; or
            (B, R * S, S1), which prefix tokens each query may see.
        mask: Bool tensor broadcast to (B * R, 1, S, S2).

    Returns:
        Tensor (B * R, S, heads, head_dim).
    """
    num_keys = prefix[0].shape[1] + key.shape[1]
    queries = _prefix_chunk(query.shape, num_keys)
    reason = _why(chosen_kernel())
    note("chunked", query.shape, num_keys, queries, reason=reason)
    tensors = (query, *prefix, key, value, prefix_mask, mask)
    if queries == query.shape[1]:
        return _to_both(*tensors)
    axes = [1, None, None, None, None]
    axes.append(1 if len(prefix_mask.shape) == 3 else None)
    axes.append(None if mask.shape[2] == 1 else 2)
    return map_pieces(rematerialized(_to_both), tensors, axes, queries)


def _why(kernel):
    """Why the kernel cannot be used, or `None`."""
    if kernel == "chunked":
        return None
    return f"no kernel of {kernel!r} joins a prefix that texts share"


def _prefix_chunk(shape, num_keys):
    """How many queries of each text are run at once."""
    rows, length, heads, _ = shape
    most = MOST_BYTES // (4 * heads * num_keys * (rows or 1))
    count = -(-length // max(8, most))
    return -(-length // count)


def _to_both(query, prefix_key, prefix_value, *rest):
    """`prefix_attention`, all queries at once."""
    key, value, prefix_mask, mask = rest
    heads, head_dim = query.shape[2:]
    length, key_heads = query.shape[1], key.shape[2]
    grouped = (length, key_heads, heads // key_heads, head_dim)
    query = query * head_dim**-0.5
    own = grouped_logits(ops.reshape(query, (-1, *grouped)), key)
    own = hide(own, mask[:, :, None])
    # All sequences of a prefix as one long row of queries.
    batch = ops.shape(prefix_key)[0]
    shared_shape = (batch, -1, *grouped[1:])
    shared = grouped_logits(ops.reshape(query, shared_shape), prefix_key)
    if len(prefix_mask.shape) == 2:
        prefix_mask = prefix_mask[:, None]
    shared = hide(shared, prefix_mask[:, None, None])
    shared = _split_rows(shared, batch, length)
    size = shared.shape[-1]
    weights = ops.softmax(ops.concatenate([shared, own], axis=-1), axis=-1)
    weights = ops.cast(weights, value.dtype)
    out = _weighted(weights[..., size:], value)
    weights = _join_rows(weights[..., :size], batch)
    seen = _weighted(weights, prefix_value)
    out = out + ops.reshape(seen, (-1, *grouped))
    return ops.reshape(out, (-1, length, heads, head_dim))


def _weighted(weights, value):
    return ops.einsum("bkgqs,bskd->bqkgd", weights, value)


def _split_rows(x, batch, length):
    """(B, k, g, R * S, n) -> (B * R, k, g, S, n)."""
    if x.shape[3] == length:
        return x
    _, k, g, _, n = x.shape
    x = ops.reshape(x, (batch, k, g, -1, length, n))
    x = ops.transpose(x, (0, 3, 1, 2, 4, 5))
    return ops.reshape(x, (-1, k, g, length, n))


def _join_rows(x, batch):
    """Undo `_split_rows`: (B * R, k, g, S, n) -> (B, k, g, R * S, n)."""
    _, k, g, length, n = x.shape
    x = ops.reshape(x, (batch, -1, k, g, length, n))
    x = ops.transpose(x, (0, 2, 3, 1, 4, 5))
    return ops.reshape(x, (batch, k, g, -1, n))
