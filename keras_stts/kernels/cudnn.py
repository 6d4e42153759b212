"""cuDNN's fused attention for NVIDIA GPUs, which JAX calls."""

import keras
from keras import ops

from keras_stts.kernels.choice import say_once
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.chunked import even_chunk
from keras_stts.kernels.chunked import padded
from keras_stts.kernels.notes import note
from keras_stts.kernels.notes import padded_to
from keras_stts.kernels.plain import with_key_bias
from keras_stts.ops.reach import differs_by_query
from keras_stts.ops.reach import reach_mask

# Lengths and widths that have both a forward and a backward kernel.
MULTIPLE = 8
WIDEST = 128
# Most queries of a chunk, where queries see different keys.
MOST_QUERIES = 1024
# Bias of a hidden key. float16 still holds it times sqrt(WIDEST).
NOT_SEEN = -3e3


def cudnn_attention(query, key, value, *, mask=None, bias=None, reach=None):
    """See `keras_stts.ops.attention`.

    Where the real keys of a row come first, the kernel is told their number.
    A bias of keys, and which keys are hidden, becomes a feature of the keys.
    Where queries see different keys, each chunk of queries gets a mask.
    """
    given = {"mask": mask, "bias": bias, "reach": reach}
    by_query = mask is not None or differs_by_query(reach)
    of_keys, lengths = bias, None
    if reach is not None and not by_query:
        of_keys, lengths = _of_keys(bias, reach, query.shape[0], key.shape[1])
    reason = _unfit(query, of_keys)
    if reason:
        say_once(f"Attention runs in chunks, not fused: {reason}.")
        return chunked_attention(query, key, value, **given)
    if by_query:
        return chunked_attention(
            query, key, value, **given, run=_run, sizes=_chunks, name="cudnn"
        )
    note("cudnn", query.shape, key.shape[1])
    return _run(query, key, value, bias=of_keys, lengths=lengths)


def _of_keys(bias, reach, num_rows, num_keys):
    """Tuple (bias, lengths) of what all queries of a row see; either may be
    `None`."""
    if reach.marked is None and reach.start is None:
        stop = num_keys if reach.stop is None else reach.stop[:, 0]
        return bias, ops.broadcast_to(stop, (num_rows,))
    hidden = ops.where(reach_mask(reach, num_keys), 0.0, NOT_SEEN)
    if bias is None:
        return hidden, None
    return ops.cast(bias, "float32") + hidden, None


def _unfit(query, bias):
    """Str, why cuDNN has no kernel for these; `None` if it has one."""
    dtype = keras.backend.standardize_dtype(query.dtype)
    if dtype not in ("bfloat16", "float16"):
        return f"the fused kernel takes float16 and bfloat16, not {dtype}"
    width = query.shape[-1] + (0 if bias is None else MULTIPLE)
    if width > WIDEST:
        return f"the fused kernel takes heads of up to {WIDEST}, not {width}"
    if bias is not None and bias.shape[1:3] != (1, 1):
        return "the fused kernel takes a bias of each key, not of each query"
    return None


def _chunks(shape, num_keys):
    """The kernel keeps no logits: only the mask limits a chunk."""
    num_rows, length, _ = shape
    return num_rows, even_chunk(length, MOST_QUERIES)


def _run(query, key, value, *, mask=None, bias=None, lengths=None):
    import jax

    rows, length, _, head_dim = query.shape
    num_keys = key.shape[1]
    if bias is not None:
        query, key, value = with_key_bias(query, key, value, bias)
    elif head_dim % MULTIPLE:
        query, key, value = (
            padded(x, 3, MULTIPLE) for x in (query, key, value)
        )
    if num_keys % MULTIPLE:
        key, value = padded(key, 1, MULTIPLE), padded(value, 1, MULTIPLE)
        if mask is not None:
            mask = padded(mask, 3, MULTIPLE)
        elif lengths is None:
            lengths = ops.full((rows,), num_keys, dtype="int32")
    query = padded(query, 1, MULTIPLE)
    padded_to(query.shape[1], key.shape[1])
    if mask is not None:
        square = (mask.shape[0], 1, length, key.shape[1])
        mask = padded(ops.broadcast_to(mask, square), 2, MULTIPLE)
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
