"""What is done, the most important first, and how long it may take."""

import importlib
from collections import namedtuple

from device import sizes

Task = namedtuple("Task", ["name", "run", "seconds"])
Task.__doc__ = """A task.

Attributes:
    name: Str.
    run: Function of the models and of rounds, that yields rows.
    seconds: Number. What it takes on an H100, by the operations and by what
        compiling took elsewhere; it is not begun with less left.
"""
# Of compiling programs of the whole model side by side, under JAX.
COMPILING = {"prefill": 70, "train_step": 110}
# Operations a second that a large model reaches on an H100.
SPEED = 3e14


def names(backend, short):
    """Names of all tasks of a backend, in their order."""
    first, *others = sizes.shapes(short)
    tasks = ["golden", "attention"]
    tasks += [f"prefill {shape_name(first)}", f"train_step {shape_name(first)}"]
    tasks.append("vision_layer")
    if backend == "torch":
        tasks.append("transformers")
    for shape in others:
        name = shape_name(shape)
        tasks += [f"prefill {name}", f"train_step {name}"]
    return tasks


def shape_name(shape):
    """`"64x2"`: frames and videos of a batch."""
    return "x".join(map(str, shape))


def make(name, backend, short):
    """The `Task` of that name."""
    phase, _, shape = name.partition(" ")
    frames = sizes.shapes(short)[0][0]

    def imported(module):
        return importlib.import_module(f"device.{module}")

    if phase == "golden":
        return Task(name, lambda *_: imported("golden").rows(short), 40)
    if phase == "attention":
        return Task(name, lambda m, _: imported("kernels").rows(m, short), 40)
    if phase == "vision_layer":
        ratios = sizes.ratios(short)
        return Task(
            name,
            lambda m, n: imported("vision_layer").rows(m, frames, n, ratios),
            60,
        )
    if phase == "transformers":
        return Task(
            name, lambda m, n: imported("their_molmo2").rows(m, frames, n), 60
        )
    shape = tuple(map(int, shape.split("x")))
    functions = {"prefill": "prefill", "train_step": "train"}
    return Task(
        name,
        lambda m, n: getattr(imported("whole_model"), functions[phase])(
            m, shape, n
        ),
        _seconds(phase, shape, backend),
    )


def _seconds(phase, shape, backend):
    """Of five calls of a whole and a pruned model, and of compiling them."""
    tokens = shape[0] * shape[1]
    # Of Molmo2-4B: 1.6 TFLOP a frame, more with the length of a sequence.
    operations = 5 * 1.6e12 * tokens * 1.6 * (1 + shape[0] / 256)
    if phase == "train_step":
        operations *= 4
    compiling = COMPILING[phase] if backend == "jax" else 0
    return operations / SPEED + compiling
