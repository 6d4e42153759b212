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
    *,
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
    parts = _row_parts(num_rows) if known else 1
    own_rows = num_rows // parts if known else None
    rows, queries = sizes((own_rows, length, heads), key.shape[1])
    note(name, query.shape, key.shape[1], queries)
    if not known and num_rows is not None:
        rows = None  # A symbol of JAX, which no loop can run over.
    if queries == length and rows == own_rows:
        return chunk(*tensors)
    chunk = rematerialized(chunk)

    def some_rows(*tensors):
        return map_pieces(chunk, tensors, by_query, queries)

    if rows == own_rows:
        return some_rows(*tensors)
    return map_pieces(some_rows, tensors, by_row, rows, parts)


def _row_parts(num_rows):
    """How many parts of the rows lie on devices of their own."""
    distribution = keras.distribution.distribution()
    parts = getattr(distribution, "num_model_replicas", 1)
    return parts if num_rows % parts == 0 else 1


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


def map_pieces(run, tensors, axes, size, parts=1):
    """Run a function on pieces of its arguments, one piece after the other.

    Args:
        run: Function of tensors that returns one, which has the axis of the
            first.
        tensors: Tensors.
        axes: For each of them the axis that is cut, or `None`; the first is.
        size: Int, how long a piece is. If it does not divide the axis, zeros
            are added, and what they give is left out.
        parts: Int. The axis lies on so many devices, each of which has a part
            of it and cuts pieces of its own, all at the same time. It divides
            the axis, and `size` the part.

    Returns:
        What `run` would return of whole tensors.
    """
    axis, length = axes[0], tensors[0].shape[axes[0]]
    if length == size * parts:
        return run(*tensors)
    cut = [i for i, axis in enumerate(axes) if axis is not None]

    def piece(pieces):
        parts = list(tensors)
        for i, part in zip(cut, pieces):
            parts[i] = part
        return run(*parts)

    if keras.config.backend() == "torch":
        return _map_torch(piece, [(tensors[i], axes[i]) for i in cut], size)
    pieces = [_cut(tensors[i], axes[i], size, parts) for i in cut]
    out = _joined(ops.map(piece, pieces), axis, size, parts)
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


def _cut(x, axis, size, parts):
    """(..., parts * n, ...) -> (pieces, ..., parts * size, ...)."""
    x = padded(x, axis, size)
    shape = ops.shape(x)
    before, after = shape[:axis], shape[axis + 1 :]
    x = ops.reshape(x, (*before, parts, -1, size, *after))
    x = ops.moveaxis(x, axis + 1, 0)
    return ops.reshape(x, (-1, *before, parts * size, *after))


def _joined(x, axis, size, parts):
    """Undo `_cut`."""
    shape = ops.shape(x)
    before, after = shape[1 : axis + 1], shape[axis + 2 :]
    x = ops.reshape(x, (-1, *before, parts, size, *after))
    x = ops.moveaxis(x, 0, axis + 1)
    return ops.reshape(x, (*before, -1, *after))


def padded(x, axis, multiple):
    """With zeros (of masks: False) up to a length that it divides."""
    if x.shape[axis] is None or x.shape[axis] % multiple == 0:
        return x
    more = [(0, 0)] * len(x.shape)
    more[axis] = (0, -x.shape[axis] % multiple)
    return ops.pad(x, more)
