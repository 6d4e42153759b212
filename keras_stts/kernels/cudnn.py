"""Fused attention of NVIDIA GPUs, as JAX offers it (cuDNN)."""

import keras
from keras import ops

from keras_stts.kernels.choice import say_once
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.plain import with_key_bias
from keras_stts.ops.reach import Reach
from keras_stts.ops.reach import reach_mask

# Lengths and widths that have both a forward and a backward kernel.
MULTIPLE = 8
WIDEST = 128
NOT_SEEN = -1e4


def cudnn_attention(query, key, value, mask=None, bias=None, reach=None):
    """See `keras_stts.ops.attention`.

    Rows whose first keys are real are run by lengths; a key's bias, and
    whether it is seen at all, is a feature of it. Where each query sees
    something else, chunks of queries get masks of their own.
    """
    reason = _unfit(query, bias)
    if reason:
        say_once(f"Attention runs in chunks, not fused: {reason}.")
        return chunked_attention(query, key, value, mask, bias, reach)
    reach = reach or Reach()
    if mask is not None or any(_by_query(x) for x in reach[:4]):
        return chunked_attention(
            query, key, value, mask, bias, reach, _run_masked, _chunks
        )
    lengths = reach.stop
    if reach.marked is not None or reach.start is not None:
        seen = reach_mask(reach, key.shape[1])
        hidden = ops.where(seen, 0.0, NOT_SEEN)
        bias = hidden if bias is None else ops.cast(bias, "float32") + hidden
        lengths = None
    elif lengths is not None:
        lengths = ops.broadcast_to(lengths[:, 0], (query.shape[0],))
    return _run(query, key, value, bias=bias, lengths=lengths)


def _unfit(query, bias):
    """Why cuDNN has no kernel, or `None`."""
    dtype = keras.backend.standardize_dtype(query.dtype)
    if dtype not in ("bfloat16", "float16"):
        return f"the fused kernel takes float16 and bfloat16, not {dtype}"
    width = query.shape[-1] + (0 if bias is None else MULTIPLE)
    if width > WIDEST:
        return f"the fused kernel takes heads of up to {WIDEST}, not {width}"
    if bias is not None and bias.shape[1:3] != (1, 1):
        return "the fused kernel takes a bias of each key, not of each query"
    return None


def _by_query(x):
    return x is not None and x.shape[1] != 1


def _chunks(shape, num_keys):
    """No logits are made, so chunks are as long as their masks allow."""
    num_rows, length, _ = shape
    return num_rows, min(length, 1024)


def _run_masked(query, key, value, mask=None, bias=None):
    return _run(query, key, value, mask, bias)


def _run(query, key, value, mask=None, bias=None, lengths=None):
    import jax

    rows, length, _, head_dim = query.shape
    num_keys = key.shape[1]
    if bias is not None:
        query, key, value = with_key_bias(query, key, value, bias)
    elif head_dim % MULTIPLE:
        query, key, value = (_padded(x, 3) for x in (query, key, value))
    if num_keys % MULTIPLE:
        key, value = _padded(key, 1), _padded(value, 1)
        if mask is not None:
            mask = _padded(mask, 3)
        elif lengths is None:
            lengths = ops.full((rows,), num_keys, dtype="int32")
    query = _padded(query, 1)
    if mask is not None:
        square = (mask.shape[0], 1, length, key.shape[1])
        mask = _padded(ops.broadcast_to(mask, square), 2)
    options = {}
    if lengths is not None:
        full = ops.full((rows,), query.shape[1], dtype="int32")
        options = {
            "query_seq_lengths": full,
            "key_value_seq_lengths": ops.cast(lengths, "int32"),
        }
    out = jax.nn.dot_product_attention(
        query,
        key,
        value,
        mask=mask,
        scale=head_dim**-0.5,
        implementation="cudnn",
        **options,
    )
    return out[:, :length, :, :head_dim]


def _padded(x, axis):
    """Zeros (of masks: False) up to a length that the kernels have."""
    missing = -x.shape[axis] % MULTIPLE
    more = [(0, missing if i == axis else 0) for i in range(len(x.shape))]
    return ops.pad(x, more) if missing else x
