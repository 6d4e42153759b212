"""Attention on TPUs, forward and backward.

As in FlashAttention (arXiv 2205.14135), a block of queries meets one block of
keys after another, and the softmax is kept up to date on the way. The backward
pass computes the logits again, from queries, keys and what the forward pass
kept of the softmax.
"""

import functools

from keras_stts.kernels.choice import say_once
from keras_stts.kernels.chunked import chunked_attention
from keras_stts.kernels.notes import note
from keras_stts.kernels.pallas.backward import run_backward
from keras_stts.kernels.pallas.devices import on_each_device
from keras_stts.kernels.pallas.forward import run_forward
from keras_stts.kernels.pallas.operands import flat
from keras_stts.kernels.pallas.operands import operands_of
from keras_stts.kernels.pallas.operands import stack_numbers
from keras_stts.kernels.pallas.plan import make_plan
from keras_stts.kernels.pallas.plan import ranges_of
from keras_stts.kernels.pallas.plan import visits
from keras_stts.ops.reach import Reach


def pallas_attention(
    query,
    key,
    value,
    *,
    mask=None,
    bias=None,
    reach=None,
    span=None,
    otherwise=chunked_attention,
):
    """Attention by a Pallas kernel, see `keras_stts.ops.attention`.

    Args:
        span: Optional int. Most tokens of a piece of a row (a frame), where
            tokens see only their own piece: blocks that are farther away are
            not run. `reach` must say which keys each query sees.
        otherwise: Function of `query`, `key`, `value`, `mask`, `bias` and
            `reach` that runs where the kernel cannot.
    """
    reason = _unfit(query, mask, bias)
    if reason:
        say_once(f"Attention runs in chunks, not by a kernel: {reason}.")
        return otherwise(query, key, value, mask=mask, bias=bias, reach=reach)
    plan = make_plan(query.shape, key.shape, span)
    keys = plan.seen if span else plan.keys * plan.blocks[1]
    note("pallas", query.shape, key.shape[1], plan.queries, run_keys=keys)
    run = _differentiable(span)
    return run(query, key, value, bias, tuple(reach or Reach()))


def _unfit(query, mask, bias):
    """Why the kernels cannot run this, or `None`."""
    if mask is not None or (bias is not None and bias.shape[1:3] != (1, 1)):
        return "it takes what each query sees as a reach, a bias of keys alone"
    if not isinstance(query.shape[0], int):
        return "the number of rows is not known"
    return None


@functools.lru_cache(maxsize=256)
def _differentiable(span):
    import jax

    @jax.custom_vjp
    def run(query, key, value, bias, reach):
        return forward(query, key, value, bias, reach)[0]

    def forward(query, key, value, bias, reach):
        arguments = (query, key, value, bias, *reach)
        out, size = on_each_device(
            functools.partial(_forward, span=span),
            arguments,
            _kinds(arguments),
            ("heads", "numbers"),
        )
        return out, (arguments, out, size)

    def backward(kept, slope):
        arguments, out, size = kept
        kinds = _kinds(arguments)
        results = kinds[:3] if arguments[3] is None else kinds[:4]
        slopes = on_each_device(
            functools.partial(_backward, span=span),
            (*arguments, out, size, slope),
            (*kinds, "heads", "numbers", "heads"),
            results,
        )
        none = [None] * (4 - len(slopes))
        return (*slopes, *none, None)

    run.defvjp(forward, backward)
    return run


def _kinds(arguments):
    """The `kinds` of `on_each_device`, for the arguments of `run`."""
    num_rows = arguments[0].shape[0]
    kinds = [
        "one" if x is None or x.shape[0] != num_rows else "rows"
        for x in arguments[3:]
    ]
    return ("heads", "heads", "heads", *kinds)


def _prepared(query, key, value, bias, reach, *, span):
    """The arguments of `run_forward`: operands, bounds and plan."""
    plan = make_plan(query.shape, key.shape, span)
    ranges = None
    if any(x is not None for x in reach):
        ranges = ranges_of(reach, plan)
    operands = operands_of(
        query, key, value, plan, bias=bias, reach=reach, ranges=ranges
    )
    return operands, visits(ranges, plan), plan


def _forward(query, key, value, bias, *reach, span):
    prepared = _prepared(query, key, value, bias, Reach(*reach), span=span)
    out, size = run_forward(*prepared)
    return out.reshape(query.shape), size


def _backward(query, key, value, bias, *others, span):
    import jax.numpy as jnp

    *reach, out, size, slope = others
    operands, bounds, plan = _prepared(
        query, key, value, bias, Reach(*reach), span=span
    )
    inner = jnp.sum(out.astype("float32") * slope.astype("float32"), axis=-1)
    operands["slope"] = flat(slope.astype(query.dtype))
    operands["size"] = size
    operands["inner"] = stack_numbers(inner, plan)
    slopes = run_backward(operands, bounds, plan)
    results = (
        slopes["query_slope"].reshape(query.shape),
        slopes["key_slope"].reshape(key.shape),
        slopes["value_slope"].reshape(key.shape),
    )
    if bias is None:
        return results
    return (*results, _slope_of_bias(slopes["bias_slope"], bias))


def _slope_of_bias(slope, bias):
    """The gradient (B, sets, 1, S2) in the shape and dtype of the bias."""
    slope = slope.sum(axis=1, keepdims=True)
    if bias.shape[0] == 1:
        slope = slope.sum(axis=0, keepdims=True)
    return slope.astype(bias.dtype)
