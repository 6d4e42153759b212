"""A step, compiled for chips that are not here, and what came of it."""

import contextlib
import re
import time

from . import contents
from . import layouts
from . import targets

MEMORY = {
    "arguments": "argument_size_in_bytes",
    "outputs": "output_size_in_bytes",
    "aliased": "alias_size_in_bytes",
    "temporaries": "temp_size_in_bytes",
    "code": "generated_code_size_in_bytes",
}
UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "": 1}
SIZE = r"([\d.]+)([KMGT]?)"
# The compiler's two ways of saying that a program does not fit.
NEEDS = (
    re.compile(rf"Used {SIZE}i?B? of {SIZE}i?B? hbm", re.I),
    re.compile(rf"required for [^(]*\({SIZE}\) exceeds [^(]*\({SIZE}\)"),
)
LARGEST = re.compile(
    rf"Size: {SIZE}.*?(?:Operator: op_name=\"([^\"]*)\".*?)?"
    r"Shape: ([a-z0-9]+\[[\d,]*\])",
    re.S,
)


def compile_step(
    step,
    target,
    chips=1,
    distribution=None,
    quick=False,
    kernels="auto",
    options=None,
):
    """Compile a step and read the program.

    Args:
        step: A `steps.Step`, of a model that was traced for the target, see
            `targets.force_kernels`.
        target: A `targets.Target`.
        chips: Int.
        distribution: What lies where on several chips, see
            `layouts.make_distribution`.
        quick: Bool. Whether the TPU compiler may spend a quarter of the time:
            memory and kernels are good then, times are not.
        kernels: Str. See `targets.force_kernels`.
        options: Optional dict of other options of the compiler.

    Returns:
        Dict of figures, JSON can hold it. `"fits"` says whether they do;
        where the compiler refuses, `"needs"` is what it says of memory.
    """
    devices = targets.devices(target, chips)
    args = layouts.place(step, devices, distribution)
    options = {**targets.compiler_options(target), **(options or {})}
    if quick and target.kind == "tpu":
        options["exec_time_optimization_effort"] = -1.0
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(targets.force_kernels(target, kernels))
        if distribution is not None:
            stack.enter_context(distribution.scope())
        lowered = step.lower(args)
    traced = time.perf_counter()
    report = {"trace_seconds": round(traced - start, 1)}
    try:
        compiled = lowered.compile(compiler_options=options or None)
    except Exception as error:
        report |= refused(str(error), lowered, target)
    else:
        report |= read(compiled, target)
    seconds = time.perf_counter() - traced
    return {**report, "compile_seconds": round(seconds, 1)}


def read(compiled, target):
    """Figures of a compiled program."""
    text = compiled.as_text()
    memory = memory_of(compiled)
    return {
        "fits": memory["total"] <= target.memory,
        "memory": memory,
        "chip_memory": target.memory,
        **costs(compiled, target),
        "kernels": contents.kernels(text),
        "buffers": contents.buffers(text),
        "collectives": contents.collectives(text),
    }


def memory_of(compiled):
    """Dict of bytes on one chip, by kind; `"total"` is what they take."""
    stats = compiled.memory_analysis()
    memory = {kind: getattr(stats, name) for kind, name in MEMORY.items()}
    parts = ("arguments", "outputs", "temporaries", "code")
    total = sum(memory[part] for part in parts) - memory["aliased"]
    return {**memory, "total": total}


def costs(compiled, target):
    """Operations, bytes and seconds, as far as a compiler counts them."""
    found = compiled.cost_analysis() or {}
    found = found[0] if isinstance(found, list) else found
    seconds = found.get("optimal_seconds", 0)
    return {
        "operations": found.get("flops"),
        "bytes_accessed": found.get("bytes accessed"),
        # It overflows on some chips.
        "seconds": seconds if seconds > 0 else None,
    }


def refused(message, lowered, target):
    """What a compiler says that has no room, as figures.

    Raises:
        RuntimeError: If it was something else.
    """
    for pattern in NEEDS:
        found = pattern.search(message)
        if found:
            break
    else:
        raise RuntimeError(
            f"The compiler for {target.name} refuses the program: {message}"
        )
    rows = largest(message)
    return {
        "fits": False,
        "needs": _bytes(*found.groups()[:2]),
        "chip_memory": target.memory,
        "buffers": rows or contents.tensors(lowered.as_text()),
        "buffers_are": "compiled" if rows else "traced",
    }


def largest(message):
    """The buffers that a compiler's message names, as `contents.buffers`."""
    rows = []
    for number, unit, source, array in LARGEST.findall(message):
        shape = [int(n) for n in re.findall(r"\d+", array.partition("[")[2])]
        rows.append(
            {
                "array": array,
                "shape": shape,
                "bytes": _bytes(number, unit),
                "count": 1,
                "source": source,
            }
        )
    return rows


def _bytes(number, unit):
    return int(float(number) * UNITS[unit.upper()])
