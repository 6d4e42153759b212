"""Attention on TPUs: a Pallas kernel that makes no logits in memory."""

import functools

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


def pallas_attention(
    query, key, value, mask=None, bias=None, reach=None, span=None, slope=None
):
    """See `keras_stts.ops.attention`; the gradient is that of chunks.

    Args:
        span: Optional int. How many keys at most a query sees, if its reach
            is one range: blocks of keys out of it are not run.
        slope: Optional function of query, key and value that gives the same
            and is differentiated instead.
    """
    reason = _unfit(query, mask, bias)
    if reason:
        say_once(f"Attention runs in chunks, not by a kernel: {reason}.")
        run = slope or functools.partial(
            chunked_attention, mask=mask, bias=bias, reach=reach
        )
        return run(query, key, value)
    return _differentiable(span, slope)(
        query, key, value, bias, tuple(reach or Reach())
    )


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
    def run(query, key, value, bias, reach):
        return _forward(query, key, value, bias, Reach(*reach), span)

    def forward(*given):
        return run(*given), given

    def backward(given, gradient):
        query, key, value, bias, reach = given

        def again(query, key, value, bias):
            if slope is not None:
                return slope(query, key, value)
            return chunked_attention(
                query, key, value, bias=bias, reach=Reach(*reach)
            )

        _, pullback = jax.vjp(again, query, key, value, bias)
        return (*pullback(gradient), None)

    run.defvjp(forward, backward)
    return run


def _forward(query, key, value, bias, reach, span):
    """Lay out, and call the kernel: heads stay side by side in the lanes."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    rows, length, heads, width = query.shape
    num_keys, key_heads = key.shape[1:3]
    groups = heads // key_heads
    side = key_heads if width % LANES else 1  # Heads of keys in a block.
    queries = min(length, MOST_QUERIES)
    keys = num_keys if num_keys <= ONE_BLOCK else MOST_KEYS
    blocks = (pl.cdiv(length, queries), pl.cdiv(num_keys, keys))
    ranges = _ranges(reach, rows, length, num_keys)
    first, count = _visited(ranges, reach, queries, keys, blocks)
    steps = blocks[1]
    seen = num_keys
    if span is not None:
        steps = min(steps, pl.cdiv(queries + 2 * span, keys) + 1)
        seen = min(num_keys, span + queries + keys)

    def at_query(row, head, i, j, first, count):
        return row, i, head

    def at_key(row, head, i, j, first, count):
        return row, jnp.minimum(first[row, i] + j, blocks[1] - 1), head

    def of_key(row, head, i, j, first, count):
        return row, 0, jnp.minimum(first[row, i] + j, blocks[1] - 1)

    wide, narrow = side * groups * width, side * width
    operands = [
        query.reshape(rows, length, heads * width),
        key.reshape(rows, num_keys, key_heads * width),
        value.reshape(rows, num_keys, key_heads * width),
    ]
    specs = [
        pl.BlockSpec((1, queries, wide), at_query),
        pl.BlockSpec((1, keys, narrow), at_key),
        pl.BlockSpec((1, keys, narrow), at_key),
    ]
    masked = any(x is not None for x in reach)
    if masked:
        operands.append(ranges)
        specs.append(
            pl.BlockSpec(
                (1, queries, 4), lambda row, head, i, j, *_: (row, i, 0)
            )
        )
    if reach.marked is not None:
        marked = jnp.broadcast_to(reach.marked, (rows, num_keys))
        operands.append(marked.astype("int32")[:, None])
        specs.append(pl.BlockSpec((1, 1, keys), of_key))
    if bias is not None:
        bias = jnp.broadcast_to(bias[:, :, 0], (rows, 1, num_keys))
        operands.append(bias.astype("float32"))
        specs.append(pl.BlockSpec((1, 1, keys), of_key))
    size = query.dtype.itemsize
    pairs = rows * length * seen
    again = blocks[0] * min(1.0, steps / blocks[1])
    call = pl.pallas_call(
        functools.partial(
            _kernel,
            names=(
                "query",
                "key",
                "value",
                *(["ranges"] if masked else []),
                *(["marked"] if reach.marked is not None else []),
                *(["bias"] if bias is not None else []),
                "out",
                "most",
                "total",
                "sums",
            ),
            side=side,
            groups=groups,
            width=width,
            num_keys=num_keys,
            steps=steps,
        ),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(rows, key_heads // side, blocks[0], steps),
            in_specs=specs,
            out_specs=pl.BlockSpec((1, queries, wide), at_query),
            scratch_shapes=[
                pltpu.VMEM((groups * queries, LANES), "float32"),
                pltpu.VMEM((groups * queries, LANES), "float32"),
                pltpu.VMEM((groups * queries, side * width), "float32"),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct(operands[0].shape, query.dtype),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel")
            + ("arbitrary",),
            vmem_limit_bytes=VMEM_BYTES,
        ),
        cost_estimate=pl.CostEstimate(
            flops=4 * pairs * heads * width,
            transcendentals=pairs * heads,
            bytes_accessed=int(
                2 * operands[0].size * size
                + 2 * again * operands[1].size * size
            ),
        ),
        name="keras_stts_attention",
    )
    return call(first, count, *operands).reshape(query.shape)


def _ranges(reach, rows, length, num_keys):
    """Int32 (B, S, 4): both ranges of keys of each query."""
    import jax.numpy as jnp

    def number(x, otherwise):
        x = jnp.full((1, 1), otherwise) if x is None else x
        return jnp.broadcast_to(x, (rows, length)).astype("int32")

    alone = reach.marked is not None
    alone = alone and reach.start is None and reach.stop is None
    return jnp.stack(
        [
            number(reach.start, 0),
            number(reach.stop, 0 if alone else num_keys),
            number(reach.marked_start, 0),
            number(reach.marked_stop, 0 if reach.marked is None else num_keys),
        ],
        axis=-1,
    )


def _visited(ranges, reach, queries, keys, blocks):
    """The first block of keys that a block of queries sees, and how many."""
    import jax.numpy as jnp

    rows, length, _ = ranges.shape
    missing = blocks[0] * queries - length
    ranges = jnp.pad(ranges, ((0, 0), (0, missing), (0, 0)), mode="edge")
    ranges = ranges.reshape(rows, blocks[0], queries, 4)
    start, stop = ranges[..., 0], ranges[..., 1]
    if reach.marked is not None:
        # An empty range begins where the other does.
        others = ranges[..., 2:]
        start = jnp.where(
            others[..., 0] < others[..., 1],
            jnp.minimum(start, others[..., 0]),
            start,
        )
        stop = jnp.maximum(stop, others[..., 1])
    first = jnp.min(start, axis=-1) // keys
    last = (jnp.max(stop, axis=-1) + keys - 1) // keys
    return first, jnp.clip(last - first, 1, blocks[1])


def _kernel(first, count, *refs, names, side, groups, width, num_keys, steps):
    """A block of queries and one of keys: a step of a running softmax."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    ref = dict(zip(names, refs))
    row, i, j = (pl.program_id(axis) for axis in (0, 2, 3))
    queries, keys = ref["query"].shape[1], ref["key"].shape[1]

    @pl.when(j == 0)
    def _():
        ref["most"][...] = jnp.full_like(ref["most"], NOT_SEEN)
        ref["total"][...] = jnp.zeros_like(ref["total"])
        ref["sums"][...] = jnp.zeros_like(ref["sums"])

    @pl.when(j < count[row, i])
    def _():
        base = (first[row, i] + j) * keys
        seen = _seen(ref, base, queries, keys, num_keys)
        if seen is not None and groups > 1:
            seen = jnp.concatenate([seen] * groups, axis=0)
        for head in range(side):
            part = pl.ds(head * width, width)
            query = _grouped(ref["query"], head, groups, width)
            key, value = ref["key"][0, :, part], ref["value"][0, :, part]
            if num_keys % keys:  # What is past the end may be anything.
                place = base + jax.lax.broadcasted_iota(jnp.int32, (keys, 1), 0)
                value = jnp.where(place < num_keys, value, 0)
            logits = jax.lax.dot_general(
                query,
                key,
                (((1,), (1,)), ((), ())),
                preferred_element_type=jnp.float32,
            )
            logits = logits * width**-0.5
            if "bias" in ref:
                logits = logits + ref["bias"][0]
            if seen is not None:
                logits = jnp.where(seen, logits, NOT_SEEN)
            column = pl.ds(head, 1)
            before = ref["most"][:, column]
            most = jnp.maximum(before, jnp.max(logits, -1, keepdims=True))
            weights = jnp.exp(logits - most)
            fade = jnp.exp(before - most)
            total = jnp.sum(weights, -1, keepdims=True)
            ref["total"][:, column] = ref["total"][:, column] * fade + total
            ref["most"][:, column] = most
            sums = jax.lax.dot(
                weights.astype(value.dtype),
                value,
                preferred_element_type=jnp.float32,
            )
            ref["sums"][:, part] = ref["sums"][:, part] * fade + sums

    @pl.when(j == steps - 1)
    def _():
        for head in range(side):
            out = ref["sums"][:, pl.ds(head * width, width)]
            out = out / ref["total"][:, pl.ds(head, 1)]
            out = out.astype(ref["out"].dtype)
            for group in range(groups):
                place = pl.ds((head * groups + group) * width, width)
                ref["out"][0, :, place] = out[
                    group * queries : (group + 1) * queries
                ]


def _grouped(ref, head, groups, width):
    """Queries of one head of keys, those of its groups below each other."""
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    parts = [
        ref[0, :, pl.ds((head * groups + group) * width, width)]
        for group in range(groups)
    ]
    return parts[0] if groups == 1 else jnp.concatenate(parts, axis=0)


def _seen(ref, base, queries, keys, num_keys):
    """Bool (queries, keys), which of a block of keys each query sees."""
    import jax
    import jax.numpy as jnp

    if "ranges" not in ref and num_keys % keys == 0:
        return None
    place = base + jax.lax.broadcasted_iota(jnp.int32, (queries, keys), 1)
    if "ranges" not in ref:
        return place < num_keys
    ranges = ref["ranges"][0]
    seen = (place >= ranges[:, 0:1]) & (place < ranges[:, 1:2])
    if "marked" in ref:
        also = (place >= ranges[:, 2:3]) & (place < ranges[:, 3:4])
        seen = seen | (also & (ref["marked"][0] > 0))
    return seen
