"""What kernels have in common: visits, and tiles of the logits.

A tile is what a part of the queries makes with a block of keys, or with a piece
of it. In it, the heads that share a head of keys are stacked: one after the
other in the rows. A `ref` is a dict of Pallas' references by name.
"""

from collections import namedtuple

# Logits of keys that a query does not see.
NOT_SEEN = -1e30
Keys = namedtuple("Keys", ["base", "rows", "size"])
Keys.__doc__ = """A block of keys, or a piece of it.

Attributes:
    base: Int32 scalar, the place of the first key in its row.
    rows: A `pl.ds`, where the keys lie in the block.
    size: Int, how many there are.
"""


def walk(bounds, by, plan, *, begin, run, end):
    """A step of the grid: a block visits a block of the other kind.

    Args:
        bounds: Four references: for each block, the first block that it visits
            and the one after the last; and for each part of the queries, the
            first piece of keys that it sees and the one after the last.
        by: `"queries"` or `"keys"`: whose blocks visit blocks of the other.
        plan: A `Plan`.
        begin: Function, called before the first visit of a block.
        run: Function of the number of a part, that of its block of queries,
            and `Keys`.
        end: Function, called after the last visit.
    """
    from jax.experimental import pallas as pl

    first, stop, *bounds = bounds
    row, i, j = (pl.program_id(axis) for axis in (0, 2, 3))
    block = first[row, i] + j
    queries, keys = (i, block) if by == "queries" else (block, i)
    pl.when(j == 0)(begin)

    @pl.when(block < stop[row, i])
    def visit():
        _each_part(run, bounds, plan, row=row, queries=queries, keys=keys)

    steps = plan.steps[("queries", "keys").index(by)]
    pl.when(j == steps - 1)(end)


def _each_part(run, bounds, plan, *, row, queries, keys):
    """Run each part of a block of queries on the keys that it sees."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    parts = plan.queries // plan.part
    whole = _keys(keys, 0, plan.keys, plan)
    if parts == 1:
        run(0, queries, whole)
        return
    first, stop = bounds

    def body(part, _):
        at = queries * parts + part
        begin = first[row, at] - keys * plan.pieces
        end = stop[row, at] - keys * plan.pieces
        sees_all = (begin <= 0) & (end >= plan.pieces)

        @pl.when(sees_all)
        def visit():
            run(part, queries, whole)

        if plan.pieces == 1:
            return

        @pl.when((begin < plan.pieces) & (end > 0) & ~sees_all)
        def visit_piece():
            size = plan.keys // plan.pieces
            offset = pl.multiple_of(jnp.maximum(begin, 0) * size, size)
            run(part, queries, _keys(keys, offset, size, plan))

    jax.lax.fori_loop(0, parts, body, None)


def _keys(block, offset, size, plan):
    from jax.experimental import pallas as pl

    return Keys(block * plan.keys + offset, pl.ds(offset, size), size)


def rows_of(part, size):
    """The rows of a part in its block, parts having `size` rows."""
    from jax.experimental import pallas as pl

    if isinstance(part, int):
        return pl.ds(part * size, size)
    return pl.ds(pl.multiple_of(part * size, size), size)


def lanes(head, plan):
    """Where a head lies in the lanes of a block."""
    from jax.experimental import pallas as pl

    return pl.ds(head * plan.width, plan.width)


def of_queries(ref, part, head, plan):
    """Queries of a part, of all heads that share a head of keys:
    (groups * part, width)."""
    import jax.numpy as jnp

    rows = rows_of(part, plan.part)
    heads = (head * plan.groups + group for group in range(plan.groups))
    parts = [ref[0, rows, lanes(i, plan)] for i in heads]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=0)


def put_queries(ref, part, head, x, plan):
    """Write `x`, of the form that `of_queries` returns, to its place."""
    rows = rows_of(part, plan.part)
    for group in range(plan.groups):
        place = lanes(head * plan.groups + group, plan)
        piece = x[group * plan.part : (group + 1) * plan.part]
        ref[0, rows, place] = piece.astype(ref.dtype)


def of_keys(ref, keys, head, plan):
    """One head of some keys (keys, width). Past the end of the row, where
    memory may hold anything, there are zeros."""
    import jax
    import jax.numpy as jnp

    x = ref[0, keys.rows, lanes(head, plan)]
    if plan.num_keys % plan.keys == 0:
        return x
    place = jax.lax.broadcasted_iota(jnp.int32, (keys.size, 1), 0)
    return jnp.where(keys.base + place < plan.num_keys, x, 0)


def logits_of(ref, query, key, plan, *, keys, seen):
    """Logits of a tile (groups * part, keys), float32."""
    import jax.numpy as jnp

    logits = across(query, key) * plan.width**-0.5
    if "bias" in ref:
        logits = logits + ref["bias"][0, :, keys.rows]
    return logits if seen is None else jnp.where(seen, logits, NOT_SEEN)


def across(x, y):
    """x @ y.T in float32."""
    import jax
    import jax.numpy as jnp

    axes = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, y, axes, preferred_element_type=jnp.float32)


def down(x, y):
    """x.T @ y in float32."""
    import jax
    import jax.numpy as jnp

    axes = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(x, y, axes, preferred_element_type=jnp.float32)


def seen_by(ref, part, keys, plan):
    """Which keys the queries of a tile see, bool (groups * part, keys), or
    `None` if they see all."""
    import jax
    import jax.numpy as jnp

    if "ranges" not in ref and plan.num_keys % plan.keys == 0:
        return None
    shape = (plan.part, keys.size)
    place = keys.base + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    if "ranges" in ref:
        ranges = ref["ranges"][0, rows_of(part, plan.part)]
        seen = (place >= ranges[:, 0:1]) & (place < ranges[:, 1:2])
    else:
        seen = place < plan.num_keys
    if "marked" in ref:
        also = (place >= ranges[:, 2:3]) & (place < ranges[:, 3:4])
        seen = seen | (also & (ref["marked"][0, :, keys.rows] > 0))
    return stacked(seen, plan)


def real_queries(part, i, plan):
    """Which queries of a tile lie in the row, not past its end: bool
    (groups * part, 1), or `None` if those of all tiles do."""
    import jax
    import jax.numpy as jnp

    if plan.length % plan.queries == 0:
        return None
    place = jax.lax.broadcasted_iota(jnp.int32, (plan.part, 1), 0)
    place = place + i * plan.queries + part * plan.part
    return stacked(place < plan.length, plan)


def stacked(x, plan):
    """Repeat the rows of a part for all heads that share a head of keys."""
    import jax.numpy as jnp

    return jnp.concatenate([x] * plan.groups, axis=0) if plan.groups > 1 else x
