"""How attention is cut into blocks, and which of them are run."""

from collections import namedtuple

LANES = 128
# Of a block, in rows of queries, all heads of a group, and in columns of keys.
MOST_ROWS = 1024
MOST_QUERIES = 384
MOST_KEYS = 512
# Queries that are run together: programs grow with them.
PART = 128
# A sequence no longer is one block of keys.
ONE_BLOCK = 1024
# Of frames of unequal length that lie one after the other. Long blocks of
# queries read keys seldom; their parts skip the keys of other frames, by half
# a block: halves alone would do more of what each block of keys needs once.
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
Plan.__doc__ = """Sizes of what the kernels are run on.

Attributes:
    rows: Int.
    length: Int. Queries of a row.
    num_keys: Int. Keys of a row.
    groups: Int. Heads of queries that share one of keys.
    width: Int, of a head.
    side: Int. Heads of keys of a block, side by side in the lanes.
    sets: Int. Blocks of heads of keys.
    queries: Int. Queries of a block.
    part: Int. Queries of a block that are run together.
    keys: Int. Keys of a block.
    pieces: Int, 1 or 2. A part of the queries runs all of a block of keys, or
        one of its pieces.
    blocks: Tuple of ints, blocks of queries and of keys.
    steps: Tuple of ints. Blocks of keys that a block of queries visits at
        most, and blocks of queries that one of keys does.
    seen: Int. Keys that are run for each query, about.
"""


def make_plan(query_shape, key_shape, span=None):
    """Cut queries (B, S, heads, width) and keys (B, S2, key_heads, width).

    Args:
        query_shape: Tuple of ints.
        key_shape: Tuple of ints.
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
    # Blocks are cut between lanes where a head fills them.
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
    """Queries of a block and of a part: blocks of nearly the same length."""
    if length <= PART:
        return length, length
    count = -(-length // max(PART, most))
    return -(-length // (count * PART)) * PART, PART


def ranges_of(reach, plan):
    """Int32 (B, S, 4): both ranges of keys of each query."""
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
        # Empty, and where the others are: blocks before them are not run.
        start = stop = marked_start
    return jnp.stack([start, stop, marked_start, marked_stop], axis=-1)


def visits(ranges, plan):
    """Which blocks are run, as the numbers that kernels fetch beforehand.

    Args:
        ranges: From `ranges_of`, or `None`: all see all.
        plan: A `Plan`.

    Returns:
        Dict of pairs of int32 tensors, the first block and the one after the
        last: `"keys"` (B, blocks of queries), `"queries"` (B, blocks of
        keys), and `"parts"` (B, parts), pieces of blocks of keys.
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
    """The first that a part of the queries sees, and the one after."""
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
    """From the first that visits a block of keys to after the last."""
    import jax.numpy as jnp

    place = jnp.arange(plan.blocks[1], dtype="int32")
    visits = (first[..., None] <= place) & (place < stop[..., None])
    order = jnp.arange(1, plan.blocks[0] + 1, dtype="int32")[:, None]
    after = jnp.max(jnp.where(visits, order, 0), axis=1)
    begin = jnp.min(jnp.where(visits, order - 1, plan.blocks[0]), axis=1)
    return jnp.minimum(begin, after), after


def cost(plan, dtype, products, tensors, num_numbers=0):
    """What the compiler cannot see: at most, so that it is no promise.

    Args:
        plan: A `Plan`.
        dtype: Of the operands.
        products: Int. Matrix products for each query and key.
        tensors: Tuple of four ints: tensors of queries, and of keys, that are
            read or written once; tensors that are read again at each visit,
            of keys by a block of queries and the other way around.
        num_numbers: Int. Float32 tensors of a number for each query and head.
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
    # A number for each query and head fills lanes.
    numbers = plan.rows * plan.sets * plan.groups * plan.length * LANES
    values_of_numbers = 4 * numbers * num_numbers
    return pl.CostEstimate(
        flops=2 * products * pairs * heads * plan.width,
        transcendentals=pairs * heads,
        bytes_accessed=int(values * dtype.itemsize) + values_of_numbers,
    )


def _times(plan, axis):
    """How often a block is read that blocks of the axis visit."""
    visiting, visited = plan.blocks[axis], plan.blocks[1 - axis]
    if visited == 1:
        return 1  # It stays from one to the next.
    size = (plan.queries, plan.keys)[1 - axis]
    # Of keys whole blocks are read.
    rest = plan.keys - plan.keys // plan.pieces
    across = (plan.seen + rest - plan.part + plan.queries) / size
    across = min(visited, plan.steps[axis], across)
    return visiting * across / visited
