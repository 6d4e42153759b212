"""Functions compiled on fixed arguments, and their times side by side."""

import importlib
import time

import keras
from keras import ops

from device import journal
from keras_stts.evaluation import memory

# Rounds of a group of programs end after so many seconds; there are two.
SECONDS, FEWEST = 15, 2


def backend():
    """The module of this folder for the backend at hand."""
    return importlib.import_module("device.on_" + keras.config.backend())


def total_of(outputs):
    """Sum of the means of the floats among the outputs, float32."""
    floats = [
        ops.mean(ops.cast(x, "float32"))
        for x in keras.tree.flatten(outputs)
        if "float" in keras.backend.standardize_dtype(x.dtype)
    ]
    return sum(floats)


def flat(made):
    """List of the programs in any structure of them and of other things."""
    program = backend().Program
    return [x for x in keras.tree.flatten(made) if isinstance(x, program)]


def measure(programs, rounds):
    """Compile programs, run them in turns, and say what each took.

    Args:
        programs: Dict of names to programs of `backend()`.
        rounds: Int. Timed calls of each after one that warms up; fewer if
            they take long.

    Returns:
        Dict of names to dicts: `"status"` (`"ok"`, or what went wrong),
        `"seconds"` (median), `"spread"`, `"rounds"`, `"compile_seconds"`,
        `"first_seconds"` (of the first call), `"memory"` (bytes, see the
        module of the backend) and `"kernels"`.
    """
    found = {name: {"status": "ok"} for name in programs}
    alive = dict(programs)

    def attempt(name, function, *args):
        """The outcome of a step of a program, which ends at an error."""
        try:
            return function(*args)
        except Exception as error:
            found[name]["status"] = journal.status(error)
            alive.pop(name).release()
            return None

    for name, error in backend().prepare(programs).items():
        attempt(name, _raise, error)
    for name, program in list(alive.items()):
        memory.reset_peak()
        seconds = attempt(name, _seconds, program)
        if seconds is not None:
            found[name]["first_seconds"] = seconds
            facts = attempt(name, program.facts, memory.peak())
            found[name] |= facts or {}
    seconds = {name: [] for name in programs}
    start = time.perf_counter()
    for turn in range(rounds):
        if turn >= FEWEST and time.perf_counter() - start > SECONDS:
            break
        for name, program in list(alive.items()):
            taken = attempt(name, _seconds, program)
            if taken is not None:
                seconds[name].append(taken)
    for name in alive:
        found[name] |= _summary(seconds[name])
    return found


def _raise(error):
    raise error


def _seconds(program):
    start = time.perf_counter()
    program()
    return time.perf_counter() - start


def _summary(seconds):
    ordered = sorted(seconds)
    middle = len(ordered) // 2
    median = (ordered[middle] + ordered[-middle - 1]) / 2
    return {
        "seconds": median,
        "spread": ordered[-1] - ordered[0],
        "rounds": len(ordered),
    }
