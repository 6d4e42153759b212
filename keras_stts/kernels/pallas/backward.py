"""The kernels of attention's gradient, which compute the logits again.

There are two: one adds up the gradient of a block of queries over blocks of
keys, the other those of a block of keys and values over blocks of queries. A
name that ends in `slope` is a gradient.
"""

from collections import namedtuple

from keras_stts.kernels.pallas import tiles
from keras_stts.kernels.pallas.operands import call
from keras_stts.kernels.pallas.plan import cost

Tile = namedtuple("Tile", ["query", "slope", "key", "weights", "of_logits"])
OF_QUERIES = "keras_stts_attention_gradient_of_queries"
OF_KEYS = "keras_stts_attention_gradient_of_keys"


def run_backward(operands, bounds, plan):
    """Gradients of queries, keys, values, and of the bias if there is one.

    Args:
        operands: From `operands_of`, and `"slope"`, the gradient of the
            output; `"size"`, from `run_forward`; and `"inner"`, for each
            query and head the inner product of output and gradient, laid out
            by `stack_numbers`.
        bounds: From `visits`.
        plan: A `Plan`.

    Returns:
        Dict of tensors `"query_slope"`, `"key_slope"`, `"value_slope"`, of the
        shapes of query, key and value, and, with a bias, `"bias_slope"`
        (B, sets, 1, S2).
    """
    of_queries = _gradient_of_queries(operands, bounds, plan)
    return {**of_queries, **_gradients_of_keys(operands, bounds, plan)}


def _gradient_of_queries(operands, bounds, plan):
    import jax

    query = operands["query"]
    shape = jax.ShapeDtypeStruct(query.shape, query.dtype)
    rows = plan.groups * plan.queries
    (slope,) = call(
        _kernel_of_queries,
        operands,
        {"query_slope": shape},
        plan,
        scratch={"sums": (rows, plan.side * plan.width)},
        bounds=bounds,
        by="queries",
        cost=cost(plan, query.dtype, 3, (3, 0, 2, 0), 2),
        name=OF_QUERIES,
    )
    return {"query_slope": slope}


def _gradients_of_keys(operands, bounds, plan):
    import jax

    key = operands["key"]
    shape = jax.ShapeDtypeStruct(key.shape, key.dtype)
    outputs = {"key_slope": shape, "value_slope": shape}
    sums = (plan.keys, plan.side * plan.width)
    scratch = {"key_sums": sums, "value_sums": sums}
    if "bias" in operands:
        outputs["bias_slope"] = jax.ShapeDtypeStruct(
            (plan.rows, plan.sets, 1, plan.num_keys), "float32"
        )
        scratch["bias_sums"] = (1, plan.keys)
    slopes = call(
        _kernel_of_keys,
        operands,
        outputs,
        plan,
        scratch=scratch,
        bounds=bounds,
        by="keys",
        cost=cost(plan, key.dtype, 4, (0, 4, 0, 2), 2),
        name=OF_KEYS,
    )
    return dict(zip(outputs, slopes))


def _kernel_of_queries(*refs, names, plan):
    """A step: what a block of keys adds to the gradient of some queries."""
    import jax.numpy as jnp

    ref = dict(zip(names, refs[4:]))

    def begin():
        ref["sums"][...] = jnp.zeros_like(ref["sums"])

    def run(part, queries, keys):
        _add_to_queries(ref, part, keys, plan)

    def end():
        for part in range(plan.queries // plan.part):
            rows = tiles.rows_of(part, plan.groups * plan.part)
            for head in range(plan.side):
                sums = ref["sums"][rows, tiles.lanes(head, plan)]
                sums = sums * plan.width**-0.5
                tiles.put_queries(ref["query_slope"], part, head, sums, plan)

    tiles.walk(refs[:4], "queries", plan, begin=begin, run=run, end=end)


def _add_to_queries(ref, part, keys, plan):
    import jax
    import jax.numpy as jnp

    seen = tiles.seen_by(ref, part, keys, plan)
    rows = tiles.rows_of(part, plan.groups * plan.part)
    for head in range(plan.side):
        tile = _tile(ref, part, head, plan, keys=keys, seen=seen)
        ref["sums"][rows, tiles.lanes(head, plan)] += jax.lax.dot(
            tile.of_logits.astype(tile.key.dtype),
            tile.key,
            preferred_element_type=jnp.float32,
        )


def _tile(ref, part, head, plan, *, keys, seen, real=None):
    """The softmax' weights, computed again, and the logits' gradient."""
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    query = tiles.of_queries(ref["query"], part, head, plan)
    slope = tiles.of_queries(ref["slope"], part, head, plan)
    if real is not None:
        query, slope = (jnp.where(real, x, 0) for x in (query, slope))
    key = tiles.of_keys(ref["key"], keys, head, plan)
    value = tiles.of_keys(ref["value"], keys, head, plan)
    rows = tiles.rows_of(part, plan.groups * plan.part)
    size, inner = (
        ref[name][0, 0, rows, pl.ds(head, 1)] for name in ("size", "inner")
    )
    logits = tiles.logits_of(ref, query, key, plan, keys=keys, seen=seen)
    weights = jnp.exp(logits - size)
    of_logits = weights * (tiles.across(slope, value) - inner)
    if real is not None:
        weights, of_logits = (
            jnp.where(real, x, 0) for x in (weights, of_logits)
        )
    return Tile(query, slope, key, weights, of_logits)


def _kernel_of_keys(*refs, names, plan):
    """A step: what a block of queries adds to the gradients of some keys."""
    import jax.numpy as jnp

    ref = dict(zip(names, refs[4:]))

    def begin():
        for name in names:
            if name.endswith("_sums"):
                ref[name][...] = jnp.zeros_like(ref[name])

    def run(part, queries, keys):
        _add_to_keys(ref, part, queries, keys, plan)

    def end():
        of_keys = ref["key_sums"][...] * plan.width**-0.5
        ref["key_slope"][0] = of_keys.astype(ref["key_slope"].dtype)
        of_values = ref["value_sums"][...]
        ref["value_slope"][0] = of_values.astype(ref["value_slope"].dtype)
        if "bias_sums" in ref:
            ref["bias_slope"][0, 0] = ref["bias_sums"][...]

    tiles.walk(refs[:4], "keys", plan, begin=begin, run=run, end=end)


def _add_to_keys(ref, part, block, keys, plan):
    import jax.numpy as jnp

    seen = tiles.seen_by(ref, part, keys, plan)
    real = tiles.real_queries(part, block, plan)
    for head in range(plan.side):
        tile = _tile(ref, part, head, plan, keys=keys, seen=seen, real=real)
        place = tiles.lanes(head, plan)
        weights = tile.weights.astype(tile.slope.dtype)
        ref["value_sums"][keys.rows, place] += tiles.down(weights, tile.slope)
        of_logits = tile.of_logits.astype(tile.query.dtype)
        ref["key_sums"][keys.rows, place] += tiles.down(of_logits, tile.query)
        if "bias_sums" in ref:
            of_bias = jnp.sum(tile.of_logits, axis=0, keepdims=True)
            ref["bias_sums"][:, keys.rows] += of_bias
