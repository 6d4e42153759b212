"""Prefill, decoding and train step of the whole model, in turns."""

import math

import keras
from keras import ops

from device import programs
from device import sizes
from device.batches import video_batch


def name_of(ratio):
    return f"{ratio:.0%} pruned" if ratio else "whole"


def batches(model, num_frames, batch_size):
    """Tensors of a batch: inputs, labels and weights."""
    x, y, weight = video_batch(
        model.backbone, num_frames, batch_size, sizes.TEXT, sizes.TIME_TOKENS
    )
    x = {name: ops.convert_to_tensor(value) for name, value in x.items()}
    return x, ops.convert_to_tensor(y), ops.convert_to_tensor(weight)


def operations(model, num_frames, batch_size):
    count = model.flops(num_frames=num_frames, text_length=sizes.TEXT)
    return batch_size * count["total"]


def rows_of(phase, models, measured, shape, cost):
    """One row a model: what was measured, beside what was counted."""
    frames, batch_size = shape
    for ratio, model in models.items():
        yield {
            "phase": phase,
            "frames": frames,
            "batch": batch_size,
            "variant": name_of(ratio),
            **cost(ratio),
            **measured[ratio],
        }


def prefills(models, shape):
    """Programs of the prefill, by ratio."""
    x, *_ = batches(next(iter(models.values())), *shape)
    forward = programs.backend().forward
    return {
        ratio: forward(model, model.prefill, x)
        for ratio, model in models.items()
    }


def prefill(models, shape, made, rounds):
    """Times of the prefill, and of one more token a row."""
    measured = programs.measure(made, rounds)
    counts = {r: operations(model, *shape) for r, model in models.items()}
    yield from rows_of(
        "prefill", models, measured, shape, lambda r: {"operations": counts[r]}
    )
    alive = {r: m for r, m in models.items() if measured[r]["status"] == "ok"}
    x, *_ = batches(next(iter(models.values())), *shape)
    yield from _decode(alive, made, x, shape, rounds)


def _decode(models, prefills, x, shape, rounds):
    """One token after a prefill; it moves all weights and all keys."""
    backend = programs.backend()
    made, counts = {}, {}
    for ratio, model in models.items():
        _, prefix, cache = prefills[ratio].run()
        index = ops.convert_to_tensor(x["token_ids"].shape[1] - 1, "int32")
        token = x["token_ids"][:, -1:]
        made[ratio] = backend.forward(
            model, model.decode, token, index, cache, prefix=prefix
        )
        counts[ratio] = _moved(model, (prefix, cache))
    measured = programs.measure(made, 4 * rounds)
    yield from rows_of(
        "decode", models, measured, shape, lambda r: {"bytes": counts[r]}
    )


def _moved(model, state):
    """Bytes of what a step reads: language model, head, keys and values."""
    layers = [*model.backbone.transformer_layers, model.lm_head]
    tensors = [v for layer in layers for v in layer.weights]
    tensors += [x for x in keras.tree.flatten(state) if "float" in str(x.dtype)]
    wide = 4 if model.backbone.compute_dtype == "float32" else 2
    return wide * sum(math.prod(x.shape) for x in tensors)


def train_steps(models, shape):
    """Programs of a train step of all weights, blocks run again."""
    batch = batches(next(iter(models.values())), *shape)
    train_step = programs.backend().train_step
    return {ratio: train_step(model, batch) for ratio, model in models.items()}


def train(models, shape, made, rounds):
    """Times of those."""
    measured = programs.measure(made, rounds)
    counts = {r: 3 * operations(model, *shape) for r, model in models.items()}
    yield from rows_of(
        "train step",
        models,
        measured,
        shape,
        lambda r: {"operations": counts[r]},
    )
