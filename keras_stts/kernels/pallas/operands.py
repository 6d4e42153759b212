"""The tensors that kernels read and write, and which block at which step."""

import functools

from keras_stts.kernels.pallas.plan import LANES

# Memory on the chip that a kernel may use.
VMEM_BYTES = 2**26
# Tensors with an axis of queries. The others have one of keys.
OF_QUERIES = ("query", "out", "slope", "query_slope", "size", "inner", "ranges")


def operands_of(query, key, value, plan, *, bias, reach, ranges):
    """Dict of the tensors that all kernels read.

    Queries, keys and values, with heads side by side in the last dimension;
    and, where there are such, the ranges and the marks of the keys that are
    seen, and the bias.
    """
    import jax.numpy as jnp

    tensors = {"query": query, "key": key, "value": value}
    operands = {name: flat(x) for name, x in tensors.items()}
    if ranges is not None:
        operands["ranges"] = ranges
    if reach.marked is not None:
        marked = jnp.broadcast_to(reach.marked, (plan.rows, plan.num_keys))
        operands["marked"] = marked.astype("int32")[:, None]
    if bias is not None:
        bias = jnp.broadcast_to(bias[:, :, 0], (plan.rows, 1, plan.num_keys))
        operands["bias"] = bias.astype("float32")
    return operands


def flat(x):
    """(B, S, heads, width) -> (B, S, heads * width)."""
    return x.reshape(*x.shape[:2], -1)


def stack_numbers(x, plan):
    """A number for each query and head, in the order kernels write them.

    Args:
        x: Tensor (B, S, heads).
        plan: A `Plan`.

    Returns:
        Tensor (B, sets, blocks * parts * groups * part, side): in each part of
        the queries, one after the other the heads that share a head of keys.
    """
    import jax.numpy as jnp

    parts = plan.blocks[0] * plan.queries // plan.part
    missing = parts * plan.part - plan.length
    x = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))
    shape = (parts, plan.part, plan.sets, plan.side, plan.groups)
    x = jnp.transpose(x.reshape(plan.rows, *shape), (0, 3, 1, 5, 2, 4))
    return x.reshape(plan.rows, plan.sets, -1, plan.side)


def call(kernel, inputs, outputs, plan, *, scratch, bounds, by, cost, name):
    """Call a kernel on a grid of rows, sets of heads, blocks and visits.

    TPUs walk through the grid in order. Of one block, the visits come one
    after the other, so sums stay in memory on the chip between them.

    Args:
        kernel: Function of references (to the bounds, then to inputs, outputs
            and scratch), their `names`, and `plan`.
        inputs: Dict of tensors.
        outputs: Dict of `jax.ShapeDtypeStruct`.
        plan: A `Plan`.
        scratch: Dict of shapes, tuples of two ints, of float32 memory on the
            chip.
        bounds: From `visits`.
        by: `"queries"` or `"keys"`: whose blocks visit blocks of the other.
        cost: A `pl.CostEstimate`.
        name: Str, which profiles show.

    Returns:
        List of tensors.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    axis = ("queries", "keys").index(by)
    visited = bounds["keys" if by == "queries" else "queries"]
    prefetched = (*visited, *bounds["parts"])
    names = (*inputs, *outputs, *scratch)
    return pl.pallas_call(
        functools.partial(kernel, names=names, plan=plan),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(prefetched),
            grid=(plan.rows, plan.sets, plan.blocks[axis], plan.steps[axis]),
            in_specs=[_spec(name, by, plan) for name in inputs],
            out_specs=[_spec(name, by, plan) for name in outputs],
            scratch_shapes=[
                pltpu.VMEM(shape, "float32") for shape in scratch.values()
            ],
        ),
        out_shape=list(outputs.values()),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=(*3 * ("parallel",), "arbitrary"),
            vmem_limit_bytes=VMEM_BYTES,
        ),
        cost_estimate=cost,
        name=name,
    )(*prefetched, *inputs.values())


def _spec(name, by, plan):
    """The `pl.BlockSpec` of a tensor: which block of it a step takes."""
    from jax.experimental import pallas as pl

    narrow = plan.side * plan.width
    query = (1, plan.queries, plan.groups * narrow)
    number = (1, 1, plan.groups * plan.queries, plan.side)
    shapes = {
        "query": query,
        "out": query,
        "slope": query,
        "query_slope": query,
        "size": number,
        "inner": number,
        "ranges": (1, plan.queries, 4),
        "marked": (1, 1, plan.keys),
        "bias": (1, 1, plan.keys),
        "bias_slope": (1, 1, 1, plan.keys),
    }
    shape = shapes.get(name, (1, plan.keys, narrow))
    return pl.BlockSpec(shape, functools.partial(_place, name, by))


def _place(name, by, *step):
    """Where the block of a step lies in a tensor, counted in blocks.

    Args:
        name: Str, the tensor's.
        by: See `call`.
        *step: Row, set of heads, block and visit of the step, then the bounds.
    """
    row, head, i, j, *bounds = step
    own = "queries" if name in OF_QUERIES else "keys"
    block = i if own == by else _visited(row, i, j, *bounds[:2])
    places = {
        "size": (row, head, block, 0),
        "inner": (row, head, block, 0),
        "ranges": (row, block, 0),
        "marked": (row, 0, block),
        "bias": (row, 0, block),
        "bias_slope": (row, head, 0, block),
    }
    return places.get(name, (row, block, head))


def _visited(row, i, j, first, stop):
    import jax.numpy as jnp

    # A step after the last visit names the same block, so nothing is read.
    last = jnp.maximum(stop[row, i] - 1, 0)
    return jnp.minimum(first[row, i] + j, last)


def scratch_of_queries(plan):
    """Shapes of the running maximum, denominator and sum of some queries."""
    rows = plan.groups * plan.queries
    return {
        "most": (rows, LANES),
        "total": (rows, LANES),
        "sums": (rows, plan.side * plan.width),
    }
