"""What is done, the most important first, and how long it may take."""

import importlib
from collections import namedtuple

from device import sizes

Task = namedtuple(
    "Task", ["name", "run", "seconds", "prepare", "compiling", "ahead"]
)
Task.__doc__ = """A task.

Attributes:
    name: Str.
    run: Function of the models, of what `prepare` made, and of rounds, that
        yields rows.
    seconds: Number. What it takes on an H100 once it is compiled, by the
        operations; it is not begun with less left.
    prepare: Function of the models that makes its programs, or `None`.
    compiling: Number. Seconds of tracing and compiling them, under JAX.
    ahead: Bool. Whether that begins before all is checked.
"""
# As seen beside an H200 and 16 cores.
COMPILING = {"prefill": 54, "train_step": 172, "vision_layer": 47}
# Operations a second that a large model reaches on an H100.
SPEED = 3e14


def names(backend, short):
    """Names of all tasks of a backend, in their order."""
    first, *others = sizes.shapes(short)
    tasks = ["golden", "attention", f"prefill {shape_name(first)}"]
    train_step = f"train_step {shape_name(first)}"
    if backend == "torch":
        tasks += ["transformers", "vision_layer", train_step]
    else:
        tasks += [train_step, "vision_layer"]
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
    first = shape_name(sizes.shapes(short)[0])
    ahead = backend == "jax" and shape == first
    compiling = COMPILING.get(phase, 0) if backend == "jax" else 0

    def task(run, seconds, prepare=None):
        return Task(name, run, seconds, prepare, compiling, ahead)

    def imported(module):
        return importlib.import_module(f"device.{module}")

    if phase == "golden":
        return task(lambda *_: imported("golden").rows(short), 40)
    if phase == "attention":
        return task(lambda m, *_: imported("kernels").rows(m, short), 40)
    if phase == "vision_layer":
        ratios = sizes.ratios(short)
        return task(
            lambda _, made, n: imported(phase).rows(frames, *made, n),
            15,
            lambda m: imported(phase).blocks(m, frames, ratios),
        )
    if phase == "transformers":
        return task(
            lambda m, _, n: imported("their_molmo2").rows(m, frames, n), 50
        )
    shape = tuple(map(int, shape.split("x")))
    makers = {"prefill": "prefills", "train_step": "train_steps"}
    functions = {"prefill": "prefill", "train_step": "train"}

    def run(models, made, rounds):
        function = getattr(imported("whole_model"), functions[phase])
        return function(models, shape, made, rounds)

    def prepare(models):
        return getattr(imported("whole_model"), makers[phase])(models, shape)

    return task(run, _seconds(phase, shape, backend), prepare)


def _seconds(phase, shape, backend):
    """Of five calls of a whole and a pruned model."""
    tokens = shape[0] * shape[1]
    # Of Molmo2-4B: 1.6 TFLOP a frame, more with the length of a sequence.
    operations = 5 * 1.6e12 * tokens * 1.6 * (1 + shape[0] / 256)
    if phase == "train_step":
        # PyTorch starts its operations one by one.
        operations *= 4 if backend == "jax" else 8
    return operations / SPEED + 5
