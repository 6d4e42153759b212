"""Fused attention as PyTorch chooses it for its device."""

from keras_stts.kernels.chunked import MOST_QUERIES
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.chunked import even_chunk
from keras_stts.ops.reach import differs_by_query


def torch_attention(query, key, value, *, mask=None, bias=None, reach=None):
    """See `keras_stts.ops.attention`.

    `scaled_dot_product_attention` makes no logits, but where each query sees
    something else it wants a square mask, so these are run in chunks.
    """
    return chunked_attention(
        query,
        key,
        value,
        mask=mask,
        bias=bias,
        reach=reach,
        sizes=_chunks(reach),
        name="torch",
    )


def _chunks(reach):
    def sizes(shape, num_keys):
        num_rows, length, _ = shape
        if differs_by_query(reach) and isinstance(length, int):
            return num_rows, even_chunk(length, MOST_QUERIES)
        return num_rows, length

    return sizes
