"""How attention is cut into blocks, and which of them are run.

Queries and keys of a row are cut into blocks. A kernel visits pairs of a block
of queries and a block of keys, and leaves out the pairs of which no query sees
any key.
"""

from collections import namedtuple

# Numbers side by side in a register of a TPU.
LANES = 128
# The largest blocks: queries times the heads that share a head of keys,
# queries, and keys.
MOST_ROWS = 1024
MOST_QUERIES = 384
MOST_KEYS = 512
# Queries that are run together. With more of them the program gets larger.
PART = 128
# Keys up to this many are one block.
ONE_BLOCK = 1024
# Blocks where frames of unequal length lie one after the other. With long
# blocks of queries, keys are read less often. Each part of the queries skips
# the keys of other frames, by halves of a block of keys: with blocks of half
# the size, more time would go to what is done once a block.
FLAT_QUERIES = 512
FLAT_KEYS = 256

Plan = namedtuple(
    "Plan",
    [
        "rows",
        "length",
        "num_keys",
        "groups",
        "width",
        "side",
        "sets",
        "queries",
        "part",
        "keys",
        "pieces",
        "blocks",
        "steps",
        "seen",
    ],
)
Plan.__doc__ = """The sizes that the kernels run with.

Attributes:
    rows: Int B, rows of the batch.
    length: Int S, queries of a row.
    num_keys: Int S2, keys of a row.
    groups: Int. How many heads of queries share a head of keys.
    width: Int, of a head.
    side: Int. Heads of keys in a block, side by side in the lanes.
    sets: Int. How many such blocks hold all heads of keys.
    queries: Int. Queries in a block.
    part: Int. Queries of a block that are run together, a part.
    keys: Int. Keys in a block.
    pieces: Int, 1 or 2, how many pieces a block of keys has. A part of the
        queries runs on the whole block or on one piece of it.
    blocks: Tuple of ints, the numbers of blocks of queries and of keys.
    steps: Tuple of ints: how many blocks of keys a block of queries visits at
        most, and how many blocks of queries a block of keys visits.
    seen: Int. About how many keys are run for each query.
"""


def make_plan(query_shape, key_shape, span=None):
    """Choose the sizes of blocks.

    Args:
        query_shape: Tuple of ints (B, S, heads, width).
        key_shape: Tuple of ints (B, S2, key_heads, width).
        span: Optional int. See `pallas_attention`.

    Returns:
        A `Plan`.
    """
    rows, length, heads, width = query_shape
    _, num_keys, key_heads, _ = key_shape
    groups = heads // key_heads
    if span is None:
        most = min(MOST_QUERIES, MOST_ROWS // groups)
        keys = num_keys if num_keys <= ONE_BLOCK else MOST_KEYS
    else:
        most, keys = FLAT_QUERIES, min(FLAT_KEYS, num_keys)
    queries, part = _parts(length, most)
    blocks = (-(-length // queries), -(-num_keys // keys))
    steps, seen, pieces = blocks[::-1], num_keys, 1
    if span is not None:
        pieces = 2 if keys == FLAT_KEYS else 1
        steps = (
            min(blocks[1], -(-(queries + 2 * span) // keys) + 1),
            min(blocks[0], -(-(keys + 2 * span) // queries) + 1),
        )
        seen = min(num_keys, span + part + keys // pieces)
    # Heads can be blocks of their own only if each fills all lanes.
    side = key_heads if width % LANES else 1
    return Plan(
        rows=rows,
        length=length,
        num_keys=num_keys,
        groups=groups,
        width=width,
        side=side,
        sets=key_heads // side,
        queries=queries,
        part=part,
        keys=keys,
        pieces=pieces,
        blocks=blocks,
        steps=steps,
        seen=seen,
    )


def _parts(length, most):
    """Queries of a block and of a part, for blocks of nearly equal length."""
    if length <= PART:
        return length, length
    count = -(-length // max(PART, most))
    return -(-length // (count * PART)) * PART, PART


def ranges_of(reach, plan):
    """Which keys each query sees, as int32 (B, S, 4).

    The start and the stop of the keys that are seen in any case, and those of
    the keys that are seen if they are marked; see `keras_stts.ops.Reach`.
    """
    import jax.numpy as jnp

    def number(x, otherwise):
        x = jnp.full((1, 1), otherwise) if x is None else x
        return jnp.broadcast_to(x, (plan.rows, plan.length)).astype("int32")

    start, stop = number(reach.start, 0), number(reach.stop, plan.num_keys)
    if reach.marked is None:
        return jnp.stack([start, stop, start, start], axis=-1)
    marked_start = number(reach.marked_start, 0)
    marked_stop = number(reach.marked_stop, plan.num_keys)
    if reach.start is None and reach.stop is None:
        # An empty range, which begins where the other one does, so that the
        # blocks before it are not run.
        start = stop = marked_start
    return jnp.stack([start, stop, marked_start, marked_stop], axis=-1)


def visits(ranges, plan):
    """Which blocks are run: bounds that kernels know before they read blocks.

    Args:
        ranges: From `ranges_of`, or `None` if all queries see all keys.
        plan: A `Plan`.

    Returns:
        Dict of pairs of int32 tensors, the first and the one after the last:
        `"keys"` (B, blocks of queries), the blocks of keys that a block of
        queries visits; `"queries"` (B, blocks of keys), the other way around;
        and `"parts"` (B, parts), the pieces of blocks of keys that a part of
        the queries sees.
    """
    import jax.numpy as jnp

    per_block = plan.queries // plan.part
    parts = plan.blocks[0] * per_block
    if ranges is None:
        first = jnp.zeros((plan.rows, parts), "int32")
        stop = jnp.full_like(first, plan.blocks[1] * plan.pieces)
    else:
        first, stop = _pieces_of_keys(ranges, parts, plan)
    first_of_block = first.reshape(plan.rows, -1, per_block).min(axis=-1)
    stop_of_block = stop.reshape(plan.rows, -1, per_block).max(axis=-1)
    first_of_block = first_of_block // plan.pieces
    stop_of_block = -(-stop_of_block // plan.pieces)
    return {
        "keys": (first_of_block, stop_of_block),
        "queries": _blocks_of_queries(first_of_block, stop_of_block, plan),
        "parts": (first, stop),
    }


def _pieces_of_keys(ranges, parts, plan):
    """Pieces of keys that each part of the queries sees: the first of them,
    and the one after the last."""
    import jax.numpy as jnp

    missing = parts * plan.part - plan.length
    ranges = jnp.pad(ranges, ((0, 0), (0, missing), (0, 0)), mode="edge")
    ranges = ranges.reshape(plan.rows, parts, plan.part, 4)
    start, stop, other_start, other_stop = jnp.moveaxis(ranges, -1, 0)
    is_empty = other_start >= other_stop
    start = jnp.where(is_empty, start, jnp.minimum(start, other_start))
    stop = jnp.where(is_empty, stop, jnp.maximum(stop, other_stop))
    size = plan.keys // plan.pieces
    first = jnp.min(start, axis=-1) // size
    last = (jnp.max(stop, axis=-1) + size - 1) // size
    return first, jnp.clip(last, first + 1, plan.blocks[1] * plan.pieces)


def _blocks_of_queries(first, stop, plan):
    """Blocks of queries that see each block of keys: the first of them, and
    the one after the last."""
    import jax.numpy as jnp

    place = jnp.arange(plan.blocks[1], dtype="int32")
    visits = (first[..., None] <= place) & (place < stop[..., None])
    order = jnp.arange(1, plan.blocks[0] + 1, dtype="int32")[:, None]
    after = jnp.max(jnp.where(visits, order, 0), axis=1)
    begin = jnp.min(jnp.where(visits, order - 1, plan.blocks[0]), axis=1)
    return jnp.minimum(begin, after), after


def cost(plan, dtype, products, tensors, num_numbers=0):
    """The cost of a kernel, an upper bound, which XLA cannot tell itself.

    Args:
        plan: A `Plan`.
        dtype: Of the operands.
        products: Int. Matrix products for each query and key.
        tensors: Tuple of four ints: how many tensors of queries, and of keys,
            are read or written once; and how many tensors of keys are read
            again by each block of queries, and of queries by each of keys.
        num_numbers: Int. How many float32 tensors have a number for each query
            and head.

    Returns:
        A `pl.CostEstimate`.
    """
    from jax.experimental import pallas as pl

    pairs = plan.rows * plan.length * plan.seen
    heads = plan.groups * plan.side * plan.sets
    query = plan.rows * plan.length * heads * plan.width
    key = plan.rows * plan.num_keys * plan.side * plan.sets * plan.width
    of_query, of_key, keys_again, queries_again = tensors
    values = of_query * query + of_key * key
    values += keys_again * key * _times(plan, 0)
    values += queries_again * query * _times(plan, 1)
    # In memory each of these numbers takes a whole row of lanes.
    numbers = plan.rows * plan.sets * plan.groups * plan.length * LANES
    values_of_numbers = 4 * numbers * num_numbers
    return pl.CostEstimate(
        flops=2 * products * pairs * heads * plan.width,
        transcendentals=pairs * heads,
        bytes_accessed=int(values * dtype.itemsize) + values_of_numbers,
    )


def _times(plan, axis):
    """How often a block is read, on average, if blocks of queries (axis 0) or
    of keys (axis 1) visit the blocks of the other."""
    visiting, visited = plan.blocks[axis], plan.blocks[1 - axis]
    if visited == 1:
        return 1  # It stays on the chip from one visit to the next.
    size = (plan.queries, plan.keys)[1 - axis]
    # Keys are read by whole blocks, even if only a piece of one is run.
    rest = plan.keys - plan.keys // plan.pieces
    across = (plan.seen + rest - plan.part + plan.queries) / size
    across = min(visited, plan.steps[axis], across)
    return visiting * across / visited
