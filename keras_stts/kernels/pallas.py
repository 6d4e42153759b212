"""Attention on TPUs: a Pallas kernel that makes no logits in memory."""

import functools
from collections import namedtuple

import keras

from keras_stts.kernels.choice import say_once
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.ops.reach import Reach

LANES = 128
MOST_QUERIES = 256
MOST_KEYS = 512
# A sequence no longer is one block of keys.
ONE_BLOCK = 1024
NOT_SEEN = -1e30
VMEM_BYTES = 2**25

Plan = namedtuple(
    "Plan", "width groups side length num_keys queries keys blocks steps seen"
)
Plan.__doc__ = """Sizes of what the kernel is run on.

Attributes:
    width: Int, of a head.
    groups: Int. Heads of queries that share one of keys.
    side: Int. Heads of keys of a block, side by side in the lanes.
    length: Int. Queries of a row.
    num_keys: Int. Keys of a row.
    queries: Int. Queries of a block.
    keys: Int. Keys of a block.
    blocks: Tuple of ints, blocks of queries and of keys.
    steps: Int. Blocks of keys that a block of queries sees at most.
    seen: Int. Keys that it runs for each query, about.
"""


def pallas_attention(
    query,
    key,
    value,
    mask=None,
    bias=None,
    reach=None,
    span=None,
    slope=None,
    given=(),
):
    """See `keras_stts.ops.attention`; the gradient is that of chunks.

    Args:
        span: Optional int. How many keys at most a query sees, if its reach
            is one range: blocks of keys out of it are not run.
        slope: Optional function of query, key, value and `given` that gives
            the same and is differentiated instead.
        given: Tuple of structures of tensors without a gradient.
    """
    reason = _unfit(query, mask, bias)
    if reason:
        say_once(f"Attention runs in chunks, not by a kernel: {reason}.")
        if slope is not None:
            return slope(query, key, value, *given)
        return chunked_attention(query, key, value, mask, bias, reach)
    run = _differentiable(span, slope)
    return run(query, key, value, bias, tuple(reach or Reach()), given)


def _unfit(query, mask, bias):
    """Why the kernel cannot run this, or `None`."""
    distribution = keras.distribution.distribution()
    if distribution is not None and distribution.device_mesh.devices.size > 1:
        return "it is not made for several devices"
    if mask is not None or (bias is not None and bias.shape[1:3] != (1, 1)):
        return "it takes what each query sees as a reach, a bias of keys alone"
    if not isinstance(query.shape[0], int):
        return "the number of rows is not known"
    return None


def _differentiable(span, slope):
    import jax

    @jax.custom_vjp
    def run(query, key, value, bias, reach, given):
        return _forward(query, key, value, bias, Reach(*reach), span)

    def forward(*arguments):
        return run(*arguments), arguments

    def backward(arguments, gradient):
        *floats, reach, given = arguments

        def again(query, key, value, bias):
            if slope is not None:
                return slope(query, key, value, *given)
            return chunked_attention(
                query, key, value, bias=bias, reach=Reach(*reach)
            )

        _, pullback = jax.vjp(again, *floats)
        return (*pullback(gradient), None, None)

    run.defvjp(forward, backward)
    return run


def _forward(query, key, value, bias, reach, span):
    """Lay out, and call the kernel: heads stay side by side in the lanes."""
    import jax
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    rows, _, heads, width = query.shape
    plan = _plan(query.shape, key.shape, span)
    ranges = _ranges(reach, rows, plan)
    prefetched = _visited(ranges, plan)
    operands = _operands(query, key, value, bias, reach, ranges)
    rows_of_scratch = plan.groups * plan.queries
    wide = plan.side * width
    call = pl.pallas_call(
        functools.partial(_kernel, names=tuple(operands), plan=plan),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(prefetched),
            grid=(rows, key.shape[2] // plan.side, plan.blocks[0], plan.steps),
            in_specs=[_spec(name, plan) for name in operands],
            out_specs=_spec("query", plan),
            scratch_shapes=[
                pltpu.VMEM((rows_of_scratch, lanes), "float32")
                for lanes in (LANES, LANES, wide)
            ],
        ),
        out_shape=jax.ShapeDtypeStruct(operands["query"].shape, query.dtype),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=(*3 * ("parallel",), "arbitrary"),
            vmem_limit_bytes=VMEM_BYTES,
        ),
        cost_estimate=_cost(query, key, plan),
        name="keras_stts_attention",
    )
    return call(*prefetched, *operands.values()).reshape(query.shape)


def _plan(shape, key_shape, span):
    """How queries (B, S, heads, width) and keys are cut into blocks."""
    _, length, heads, width = shape
    _, num_keys, key_heads, _ = key_shape
    queries = min(length, MOST_QUERIES)
    keys = num_keys if num_keys <= ONE_BLOCK else MOST_KEYS
    blocks = (-(-length // queries), -(-num_keys // keys))
    steps, seen = blocks[1], num_keys
    if span is not None:
        steps = min(steps, -(-(queries + 2 * span) // keys) + 1)
        seen = min(num_keys, span + queries + keys)
    return Plan(
        width=width,
        groups=heads // key_heads,
        # Blocks are cut between lanes where a head fills them.
        side=key_heads if width % LANES else 1,
        length=length,
        num_keys=num_keys,
        queries=queries,
        keys=keys,
        blocks=blocks,
        steps=steps,
        seen=seen,
    )


def _operands(query, key, value, bias, reach, ranges):
    """Dict of what the kernel reads: heads in the lanes, and what is seen."""
    import jax.numpy as jnp

    rows, num_keys = key.shape[:2]
    operands = {
        name: x.reshape(*x.shape[:2], -1)
        for name, x in (("query", query), ("key", key), ("value", value))
    }
    if any(x is not None for x in reach):
        operands["ranges"] = ranges
    if reach.marked is not None:
        marked = jnp.broadcast_to(reach.marked, (rows, num_keys))
        operands["marked"] = marked.astype("int32")[:, None]
    if bias is not None:
        bias = jnp.broadcast_to(bias[:, :, 0], (rows, 1, num_keys))
        operands["bias"] = bias.astype("float32")
    return operands


def _spec(name, plan):
    """Which part of an operand a step of the grid takes."""
    from jax.experimental import pallas as pl

    narrow = plan.side * plan.width

    def block_of_keys(row, i, j, first):
        import jax.numpy as jnp

        return jnp.minimum(first[row, i] + j, plan.blocks[1] - 1)

    def by_query(row, head, i, j, first, count):
        return row, i, head

    def by_key(row, head, i, j, first, count):
        return row, block_of_keys(row, i, j, first), head

    def along_keys(row, head, i, j, first, count):
        return row, 0, block_of_keys(row, i, j, first)

    def along_queries(row, head, i, j, first, count):
        return row, i, 0

    if name == "query":
        shape, index = (1, plan.queries, plan.groups * narrow), by_query
    elif name in ("key", "value"):
        shape, index = (1, plan.keys, narrow), by_key
    elif name == "ranges":
        shape, index = (1, plan.queries, 4), along_queries
    else:
        shape, index = (1, 1, plan.keys), along_keys
    return pl.BlockSpec(shape, index)


def _cost(query, key, plan):
    """What the compiler cannot see: at most, so that it is no promise."""
    from jax.experimental import pallas as pl

    rows, length, heads, width = query.shape
    pairs = rows * length * plan.seen
    reads = plan.blocks[0] * plan.steps / plan.blocks[1]
    values = 2 * query.size + 2 * reads * key.size
    return pl.CostEstimate(
        flops=4 * pairs * heads * width,
        transcendentals=pairs * heads,
        bytes_accessed=int(values * query.dtype.itemsize),
    )


def _ranges(reach, rows, plan):
    """Int32 (B, S, 4): both ranges of keys of each query."""
    import jax.numpy as jnp

    def number(x, otherwise):
        x = jnp.full((1, 1), otherwise) if x is None else x
        return jnp.broadcast_to(x, (rows, plan.length)).astype("int32")

    start, stop = number(reach.start, 0), number(reach.stop, plan.num_keys)
    if reach.marked is None:
        return jnp.stack([start, stop, start, start], axis=-1)
    marked_start = number(reach.marked_start, 0)
    marked_stop = number(reach.marked_stop, plan.num_keys)
    if reach.start is None and reach.stop is None:
        # Empty, and where the others are: blocks before them are not run.
        start = stop = marked_start
    return jnp.stack([start, stop, marked_start, marked_stop], axis=-1)


def _visited(ranges, plan):
    """The first block of keys that a block of queries sees, and how many."""
    import jax.numpy as jnp

    missing = plan.blocks[0] * plan.queries - plan.length
    ranges = jnp.pad(ranges, ((0, 0), (0, missing), (0, 0)), mode="edge")
    ranges = ranges.reshape(len(ranges), plan.blocks[0], plan.queries, 4)
    start, stop, other_start, other_stop = jnp.moveaxis(ranges, -1, 0)
    is_empty = other_start >= other_stop
    start = jnp.where(is_empty, start, jnp.minimum(start, other_start))
    stop = jnp.where(is_empty, stop, jnp.maximum(stop, other_stop))
    first = jnp.min(start, axis=-1) // plan.keys
    last = (jnp.max(stop, axis=-1) + plan.keys - 1) // plan.keys
    return first, jnp.clip(last - first, 1, plan.blocks[1])


def _kernel(first, count, *refs, names, plan):
    """A block of queries and one of keys: a step of a running softmax."""
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    names = (*names, "out", "most", "total", "sums")
    ref = dict(zip(names, refs))
    row, i, j = (pl.program_id(axis) for axis in (0, 2, 3))

    @pl.when(j == 0)
    def begin():
        ref["most"][...] = jnp.full_like(ref["most"], NOT_SEEN)
        ref["total"][...] = jnp.zeros_like(ref["total"])
        ref["sums"][...] = jnp.zeros_like(ref["sums"])

    @pl.when(j < count[row, i])
    def step():
        base = (first[row, i] + j) * plan.keys
        seen = _seen(ref, base, plan)
        for head in range(plan.side):
            _step_of_head(ref, head, base, seen, plan)

    @pl.when(j == plan.steps - 1)
    def end():
        for head in range(plan.side):
            _end_of_head(ref, head, plan)


def _step_of_head(ref, head, base, seen, plan):
    """The running softmax of one head of keys and its heads of queries."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    part, column = pl.ds(head * plan.width, plan.width), pl.ds(head, 1)
    key, value = ref["key"][0, :, part], ref["value"][0, :, part]
    if plan.num_keys % plan.keys:  # What is past the end may be anything.
        place = jax.lax.broadcasted_iota(jnp.int32, (plan.keys, 1), 0)
        value = jnp.where(base + place < plan.num_keys, value, 0)
    logits = jax.lax.dot_general(
        _grouped(ref["query"], head, plan),
        key,
        (((1,), (1,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    logits = logits * plan.width**-0.5
    if "bias" in ref:
        logits = logits + ref["bias"][0]
    if seen is not None:
        logits = jnp.where(seen, logits, NOT_SEEN)
    before = ref["most"][:, column]
    most = jnp.maximum(before, jnp.max(logits, -1, keepdims=True))
    weights, fade = jnp.exp(logits - most), jnp.exp(before - most)
    total = jnp.sum(weights, -1, keepdims=True)
    sums = jax.lax.dot(
        weights.astype(value.dtype), value, preferred_element_type=jnp.float32
    )
    ref["most"][:, column] = most
    ref["total"][:, column] = ref["total"][:, column] * fade + total
    ref["sums"][:, part] = ref["sums"][:, part] * fade + sums


def _end_of_head(ref, head, plan):
    from jax.experimental import pallas as pl

    out = ref["sums"][:, pl.ds(head * plan.width, plan.width)]
    out = (out / ref["total"][:, pl.ds(head, 1)]).astype(ref["out"].dtype)
    for group in range(plan.groups):
        rows = out[group * plan.queries : (group + 1) * plan.queries]
        ref["out"][0, :, _lanes(head, group, plan)] = rows


def _grouped(ref, head, plan):
    """Queries of one head of keys, those of its groups below each other."""
    import jax.numpy as jnp

    parts = [ref[0, :, _lanes(head, i, plan)] for i in range(plan.groups)]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=0)


def _lanes(head, group, plan):
    """Where a head of queries lies."""
    from jax.experimental import pallas as pl

    return pl.ds((head * plan.groups + group) * plan.width, plan.width)


def _seen(ref, base, plan):
    """Bool (groups * queries, keys), which of a block of keys each query
    sees, or `None` for all."""
    import jax
    import jax.numpy as jnp

    if "ranges" not in ref and plan.num_keys % plan.keys == 0:
        return None
    shape = (plan.queries, plan.keys)
    place = base + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    if "ranges" in ref:
        ranges = ref["ranges"][0]
        seen = (place >= ranges[:, 0:1]) & (place < ranges[:, 1:2])
    else:
        seen = place < plan.num_keys
    if "marked" in ref:
        also = (place >= ranges[:, 2:3]) & (place < ranges[:, 3:4])
        seen = seen | (also & (ref["marked"][0] > 0))
    return jnp.concatenate([seen] * plan.groups, axis=0)
