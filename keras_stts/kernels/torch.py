"""PyTorch's fused attention."""

from keras_stts.kernels.chunked import MOST_QUERIES
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.chunked import even_chunk
from keras_stts.ops.reach import differs_by_query


def torch_attention(query, key, value, *, mask=None, bias=None, reach=None):
    """See `keras_stts.ops.attention`.

    `scaled_dot_product_attention` keeps no logits. Where queries see different
    keys it needs a mask (S, S2); then it runs in chunks, to keep masks small.
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
