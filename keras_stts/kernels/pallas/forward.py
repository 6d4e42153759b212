"""The kernel of the forward pass: a running softmax over blocks of keys."""

from keras_stts.kernels.pallas import tiles
from keras_stts.kernels.pallas.operands import call
from keras_stts.kernels.pallas.operands import scratch_of_queries
from keras_stts.kernels.pallas.plan import cost

NAME = "keras_stts_attention"


def run_forward(operands, bounds, plan):
    """Attention, and what the backward pass needs of its softmax.

    Args:
        operands: From `operands_of`.
        bounds: From `visits`.
        plan: A `Plan`.

    Returns:
        Tuple (out, size): the output, of the shape of the queries, and for
        each query and head the logarithm of the softmax' denominator
        (log-sum-exp), laid out by `stack_numbers`.
    """
    import jax

    query = operands["query"]
    rows = plan.blocks[0] * plan.queries * plan.groups
    numbers = (plan.rows, plan.sets, rows, plan.side)
    return call(
        _kernel,
        operands,
        {
            "out": jax.ShapeDtypeStruct(query.shape, query.dtype),
            "size": jax.ShapeDtypeStruct(numbers, "float32"),
        },
        plan,
        scratch=scratch_of_queries(plan),
        bounds=bounds,
        by="queries",
        cost=cost(plan, query.dtype, 2, (2, 0, 2, 0), 1),
        name=NAME,
    )


def _kernel(*refs, names, plan):
    """A step: a block of queries attends to a block of keys."""
    import jax.numpy as jnp

    ref = dict(zip(names, refs[4:]))

    def begin():
        ref["most"][...] = jnp.full_like(ref["most"], tiles.NOT_SEEN)
        ref["total"][...] = jnp.zeros_like(ref["total"])
        ref["sums"][...] = jnp.zeros_like(ref["sums"])

    def run(part, queries, keys):
        _step(ref, part, keys, plan)

    def end():
        for part in range(plan.queries // plan.part):
            _finish(ref, part, plan)

    tiles.walk(refs[:4], "queries", plan, begin=begin, run=run, end=end)


def _step(ref, part, keys, plan):
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    seen = tiles.seen_by(ref, part, keys, plan)
    rows = tiles.rows_of(part, plan.groups * plan.part)
    for head in range(plan.side):
        place, column = tiles.lanes(head, plan), pl.ds(head, 1)
        query = tiles.of_queries(ref["query"], part, head, plan)
        key = tiles.of_keys(ref["key"], keys, head, plan)
        value = tiles.of_keys(ref["value"], keys, head, plan)
        logits = tiles.logits_of(ref, query, key, plan, keys=keys, seen=seen)
        before = ref["most"][rows, column]
        most = jnp.maximum(before, jnp.max(logits, -1, keepdims=True))
        weights, fade = jnp.exp(logits - most), jnp.exp(before - most)
        total = jnp.sum(weights, -1, keepdims=True)
        sums = jax.lax.dot(
            weights.astype(value.dtype),
            value,
            preferred_element_type=jnp.float32,
        )
        ref["most"][rows, column] = most
        ref["total"][rows, column] = ref["total"][rows, column] * fade + total
        ref["sums"][rows, place] = ref["sums"][rows, place] * fade + sums


def _finish(ref, part, plan):
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    rows = tiles.rows_of(part, plan.groups * plan.part)
    heads = pl.ds(0, plan.side)
    for head in range(plan.side):
        out = ref["sums"][rows, tiles.lanes(head, plan)]
        out = out / ref["total"][rows, pl.ds(head, 1)]
        tiles.put_queries(ref["out"], part, head, out, plan)
    total = jnp.log(ref["total"][rows, heads])
    ref["size"][0, 0, rows] = ref["most"][rows, heads] + total
