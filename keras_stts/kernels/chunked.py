"""Attention in chunks of queries: its memory grows linearly with length."""

import keras
from keras import ops

from keras_stts.kernels.choice import chosen_kernel
from keras_stts.kernels.notes import note
from keras_stts.kernels.plain import plain_attention
from keras_stts.ops.reach import Reach
from keras_stts.ops.reach import reach_mask

# Limits of a chunk: bytes of its float32 logits, and queries.
MOST_BYTES = 2**26
MOST_QUERIES = 512
# Most pieces that run without a loop on a GPU: 32,768 queries of cuDNN.
MOST_UNROLLED = 32
# The limit of one row's logits where the number of rows is not known.
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
    """See `keras_stts.ops.attention`. Exact; short inputs run in one chunk.

    The backward pass computes the logits of a chunk again, to keep none.

    Args:
        run: Function of query, key, value, mask and bias, called on each
            chunk.
        sizes: Function that returns the size of a chunk, as `chunk_sizes`
            does.
        name: Str. Name of the kernel in `keras_stts.config.ATTENTION`.
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
        rows = None  # JAX exports a symbol here: no loop can run over it.
    if queries == length and rows == own_rows:
        return chunk(*tensors)
    chunk = rematerialized(chunk)

    def some_rows(*tensors):
        return map_pieces(chunk, tensors, by_query, queries)

    if rows == own_rows:
        return some_rows(*tensors)
    return map_pieces(some_rows, tensors, by_row, rows, parts)


def _row_parts(num_rows):
    """Number of devices that the rows are split over."""
    distribution = keras.distribution.distribution()
    parts = getattr(distribution, "num_model_replicas", 1)
    return parts if num_rows % parts == 0 else 1


def chunk_sizes(shape, num_keys):
    """Number of rows and of queries in a chunk.

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
    """Length of chunks that differ little in length, at most `most`."""
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
    """`keras.remat` of float arguments alone: TensorFlow takes no others."""

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


def map_pieces(run, tensors, axes, size, parts=1, *, looped=False):
    """Run a function on pieces of its arguments, one piece after the other.

    Args:
        run: Function of tensors that returns one tensor. Its output is joined
            along the axis along which the first tensor is cut.
        tensors: Tensors.
        axes: List of the axis to cut each tensor along; `None` for a tensor
            that every piece gets whole. The first must be cut.
        size: Int. Length of a piece. Zeros fill up the last piece, and what
            comes of them is left out.
        parts: Int. Number of devices that the axis is split over. Each device
            cuts its own part into pieces, all at the same time. It must
            divide the axis, and `size` must divide a part.
        looped: Bool. Whether JAX must run them in a loop, because two pieces
            at a time would take too much memory.

    Returns:
        Tensor, what `run` would return of the whole tensors.
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

    if _is_unrolled(length, size, parts, looped):
        return _unrolled(piece, [(tensors[i], axes[i]) for i in cut], size)
    pieces = [_cut(tensors[i], axes[i], size, parts) for i in cut]
    out = _joined(ops.map(piece, pieces), axis, size, parts)
    return (
        out if length is None else out[(slice(None),) * axis + (slice(length),)]
    )


def _is_unrolled(length, size, parts, looped):
    """Whether pieces run without a loop: PyTorch's, and a few on a GPU.

    On GPUs XLA allocates what a loop begins with when the first loop begins,
    so that of the loops of all layers exists at one time.
    """
    if keras.config.backend() == "torch":
        return True
    if looped or length is None or parts > 1 or chosen_kernel() != "cudnn":
        return False
    return -(-length // size) <= MOST_UNROLLED


def _unrolled(piece, tensors, size):
    """`map_pieces` without a loop; the last piece may be shorter.

    `split` makes all pieces at once. The gradient of a slice would be as large
    as the whole tensor, once for each piece.
    """
    pieces = zip(*(_split(x, size, axis) for x, axis in tensors))
    outputs = [piece(parts) for parts in pieces]
    return ops.concatenate(outputs, axis=tensors[0][1])


def _split(x, size, axis):
    if keras.config.backend() == "torch":  # Keras' own waits for the GPU.
        import torch

        return torch.split(x, size, axis)
    return ops.split(x, list(range(size, x.shape[axis], size)), axis)


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
    """`x` with zeros, False in masks, up to a multiple along an axis."""
    if x.shape[axis] is None or x.shape[axis] % multiple == 0:
        return x
    more = [(0, 0)] * len(x.shape)
    more[axis] = (0, -x.shape[axis] % multiple)
    return ops.pad(x, more)
