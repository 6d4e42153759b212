"""Attention a chunk of queries at a time: memory linear in length."""

import keras
from keras import ops

from keras_stts.kernels.notes import note
from keras_stts.kernels.plain import plain_attention
from keras_stts.ops.reach import Reach
from keras_stts.ops.reach import reach_mask

# Most bytes of float32 logits that there are at once, and most queries.
MOST_BYTES = 2**26
MOST_QUERIES = 512
# Of a number of rows that is not known.
MOST_BYTES_OF_A_ROW = 2**20


def chunked_attention(
    query,
    key,
    value,
    mask=None,
    bias=None,
    reach=None,
    run=plain_attention,
    sizes=None,
    name="chunked",
):
    """See `keras_stts.ops.attention`; exact, and short ones are run at once.

    The logits of a chunk are made again for its gradient.

    Args:
        run: Function of query, key, value, mask and bias that runs a chunk.
        sizes: Function that says how large a chunk is, as `chunk_sizes` does.
        name: Str, what that is called in `keras_stts.config.ATTENTION`.
    """
    sizes = sizes or chunk_sizes
    given = {"mask": mask, "bias": bias, **(reach or Reach())._asdict()}
    given = {name: x for name, x in given.items() if x is not None}
    names, tensors = tuple(given), (query, key, value, *given.values())

    def chunk(query, key, value, *extras):
        return _run(run, query, key, value, dict(zip(names, extras)))

    by_query = [_query_axis(name, x) for name, x in given.items()]
    by_query = [1, None, None, *by_query]
    by_row = [None if x.shape[0] == 1 else 0 for x in given.values()]
    by_row = [0, 0, 0, *by_row]
    num_rows, length, heads, _ = query.shape
    known = isinstance(num_rows, int)
    rows, queries = sizes(
        (num_rows if known else None, length, heads), key.shape[1]
    )
    note(name, query.shape, key.shape[1], queries)
    if not known and num_rows is not None:
        rows = num_rows  # A symbol of JAX, which no loop can run over.
    if queries == length and rows is num_rows:
        return chunk(*tensors)
    chunk = rematerialized(chunk)

    def some_rows(*tensors):
        return map_pieces(chunk, tensors, by_query, queries)

    if rows is num_rows:
        return some_rows(*tensors)
    return map_pieces(some_rows, tensors, by_row, rows)


def chunk_sizes(shape, num_keys):
    """How many rows and queries are run at once.

    Args:
        shape: Tuple (B, S, heads) of the queries; B may be `None`.
        num_keys: Int.

    Returns:
        Tuple (rows, queries).
    """
    num_rows, length, heads = shape
    if not isinstance(length, int) or not isinstance(num_keys, int):
        return num_rows, length
    row = 4 * heads * num_keys * length
    square = min(length, num_keys) > MOST_QUERIES
    if not square and num_rows is None and row <= MOST_BYTES_OF_A_ROW:
        return num_rows, length
    if not square and num_rows is not None and row * num_rows <= MOST_BYTES:
        return num_rows, length
    most = min(MOST_QUERIES, max(8, MOST_BYTES // (row // length)))
    queries = even_chunk(length, most)
    if num_rows is None or queries < length:
        return 1, queries
    rows = min(num_rows, max(1, MOST_BYTES // row))
    while num_rows % rows:
        rows -= 1
    return rows, queries


def even_chunk(length, most):
    """How long chunks of nearly the same length are, at most `most`."""
    return -(-length // -(-length // most))


def _query_axis(name, x):
    """The axis of an argument that is cut with the queries, or `None`."""
    if name == "marked":
        return None
    axis = 2 if name in ("mask", "bias") else 1
    return None if x.shape[axis] == 1 else axis


def _run(run, query, key, value, given):
    mask, bias = given.pop("mask", None), given.pop("bias", None)
    if given:
        seen = reach_mask(Reach(**given), key.shape[1])
        mask = seen if mask is None else mask & seen
    return run(query, key, value, mask=mask, bias=bias)


def rematerialized(run):
    """`keras.remat` that watches floats alone, as TensorFlow wants it."""

    def remat(*tensors):
        floats = [i for i, x in enumerate(tensors) if _is_float(x)]

        def restored(*values):
            parts = list(tensors)
            for i, value in zip(floats, values):
                parts[i] = value
            return run(*parts)

        return keras.remat(restored)(*(tensors[i] for i in floats))

    return remat


def _is_float(x):
    dtype = keras.backend.standardize_dtype(x.dtype)
    return keras.backend.is_float_dtype(dtype)


def map_pieces(run, tensors, axes, size):
    """Run a function on pieces of its arguments, one piece after the other.

    Args:
        run: Function of tensors that returns one, which has the axis of the
            first.
        tensors: Tensors.
        axes: For each of them the axis that is cut, or `None`; the first is.
        size: Int, how long a piece is. If it does not divide the axis, zeros
            are added, and what they give is left out.

    Returns:
        What `run` would return of whole tensors.
    """
    axis, length = axes[0], tensors[0].shape[axes[0]]
    if length == size:
        return run(*tensors)
    cut = [i for i, axis in enumerate(axes) if axis is not None]

    def piece(pieces):
        parts = list(tensors)
        for i, part in zip(cut, pieces):
            parts[i] = part
        return run(*parts)

    if keras.config.backend() == "torch":
        return _map_torch(piece, [(tensors[i], axes[i]) for i in cut], size)
    out = ops.map(piece, [_cut(tensors[i], axes[i], size) for i in cut])
    order = list(range(1, len(out.shape)))
    order.insert(axis, 0)
    out = ops.transpose(out, order)
    before, after = ops.shape(out)[:axis], ops.shape(out)[axis + 2 :]
    out = ops.reshape(out, (*before, -1, *after))
    return (
        out if length is None else out[(slice(None),) * axis + (slice(length),)]
    )


def _map_torch(piece, tensors, size):
    """The same in fewer operations; the last piece may be shorter.

    Each slice of its own would have a gradient as large as the whole.
    """
    import torch

    pieces = zip(*(torch.split(x, size, axis) for x, axis in tensors))
    return torch.cat([piece(parts) for parts in pieces], dim=tensors[0][1])


def _cut(x, axis, size):
    """(..., n, ...) -> (pieces, ..., size, ...)."""
    x = padded(x, axis, size)
    shape = ops.shape(x)
    x = ops.reshape(x, (*shape[:axis], -1, size, *shape[axis + 1 :]))
    order = [i for i in range(len(x.shape)) if i != axis]
    return ops.transpose(x, (axis, *order))


def padded(x, axis, multiple):
    """With zeros (of masks: False) up to a length that it divides."""
    if x.shape[axis] is None or x.shape[axis] % multiple == 0:
        return x
    more = [(0, 0)] * len(x.shape)
    more[axis] = (0, -x.shape[axis] % multiple)
    return ops.pad(x, more)
