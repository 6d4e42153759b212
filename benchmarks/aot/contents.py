"""Buffers, kernels and collectives of a compiled program."""

import collections
import math
import re

from .program import BITS
from .program import walk

# Their results are others' memory, or none.
NAMES = {
    "parameter",
    "bitcast",
    "get-tuple-element",
    "tuple",
    "while",
    "conditional",
    "call",
    "opt-barrier",
    "optimization-barrier",
    "copy-done",
    "async-done",
}
COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
    "collective-broadcast",
    "ragged-all-to-all",
)
# What the TPU compiler calls by itself, and which computes nothing.
BOOKKEEPING = {
    "AssumeGatherIndicesInBound",
    "AllocateBuffer",
    "ConcatBitcast",
    "Sharding",
    "SliceBitcast",
    "SPMDFullToShardShape",
    "SPMDShardToFullShape",
}
# Fewer tokens than this are a chunk, not a sequence.
CHUNK = 512
ROUNDING = (1, 8, 16, 32, 64, 128)
ROUNDING_FAR = (256, 512)
TENSOR = re.compile(
    r"stablehlo\.(dot_general|convolution|gather|concatenate).*"
    r"tensor<((?:\d+x)+)(\w+)>\s*(?:loc.*)?$"
)


def buffers(text, top=None):
    """The arrays that a program keeps in its chip's large memory.

    Args:
        text: Str. The compiled program.
        top: Optional int. How many; defaults to all.

    Returns:
        List of dicts of `"array"` (such as `"f32[64,16,729,729]"`),
        `"shape"`, `"bytes"`, `"count"` (how often it stands in the program,
        not all of them at one time) and `"source"`, the largest first.
    """
    found = {}
    for instruction, _ in walk(text):
        if instruction.opcode in NAMES or instruction.opcode.endswith("-done"):
            continue
        for array in instruction.arrays:
            if array.space == 0:
                row = found.setdefault(
                    (array.bytes, str(array)),
                    _row(array, instruction.source),
                )
                row["count"] += 1
    rows = [found[key] for key in sorted(found, reverse=True)]
    return rows[:top]


def _row(array, source):
    return {
        "array": str(array),
        "shape": list(array.shape),
        "bytes": array.bytes,
        "count": 0,
        "source": source,
    }


def tensors(text, top=None):
    """As `buffers`, of a program that no compiler has seen or taken.

    Results of products, gathers and concatenations in StableHLO's text, which
    few compilers do without.
    """
    names = {"i1": "pred", "i8": "s8", "i32": "s32", "ui8": "u8"}
    found = {}
    for line in text.splitlines():
        match = TENSOR.search(line)
        if not match:
            continue
        operation, dims, dtype = match.groups()
        dtype = names.get(dtype, dtype)
        shape = [int(n) for n in dims.split("x") if n]
        size = math.prod(shape) * BITS.get(dtype, 32) // 8
        array = f"{dtype}[{','.join(map(str, shape))}]"
        row = {"array": array, "shape": shape, "bytes": size, "count": 0}
        row = found.setdefault((size, array), {**row, "source": operation})
        row["count"] += 1
    rows = [found[key] for key in sorted(found, reverse=True)]
    return rows[:top]


def forbidden(rows, lengths):
    """Those of `buffers` that hold a number for each pair of tokens.

    Args:
        rows: What `buffers` returned.
        lengths: Ints. How many tokens attend to each other somewhere: a
            frame's patches, the vision part's tokens. Rounded up counts, too;
            short ones do not.
    """
    long = [n for n in lengths if n > CHUNK]
    return [row for row in rows if any(_squares(row["shape"], long))]


def _squares(shape, lengths):
    """Yield for each length whether two axes are of it."""
    axes = collections.Counter(shape)
    for length in lengths:
        near = {-(-length // r) * r for r in ROUNDING}
        yield sum(axes[n] for n in near) > 1
        # Rounded further it may be a width; twice the same is none.
        yield any(axes[-(-length // r) * r] > 1 for r in ROUNDING_FAR)


def kernels(text):
    """Dict of each kernel that is called to how often it runs."""
    found = collections.Counter()
    for instruction, times in walk(text, fusions=True):
        name = _kernel(instruction)
        if name:
            found[name] += times
    return dict(found.most_common())


def _kernel(instruction):
    rest = instruction.rest
    if instruction.opcode == "fusion":
        triton = re.search(r'"kind":"(__triton[^"]*)"', rest)
        return triton and triton[1]
    if instruction.opcode != "custom-call":
        return None
    target = re.search(r'custom_call_target="([^"]*)"', rest)[1]
    if target in BOOKKEEPING:
        return None
    if target in ("tpu_custom_call", "__gpu$xla.gpu.triton", "mosaic_gpu_v2"):
        return f"{target}: {_last(instruction)}"
    return target


def _last(instruction):
    """A kernel's own name, or the one of its instruction."""
    named = re.search(
        r'kernel_name\\?"?[:=]\s*\\?"([\w.\-]+)', instruction.rest
    )
    if named:
        return named[1]
    return re.sub(r"[.\d]+$", "", instruction.name)


def collectives(text):
    """What chips send each other.

    Returns:
        List of dicts of `"kind"`, `"array"`, `"bytes"` (of a result, on one
        chip) and `"count"`, how often it runs, the largest share first.
    """
    found = collections.Counter()
    for instruction, times in walk(text, fusions=True):
        kind = instruction.opcode.removesuffix("-start")
        if kind in COLLECTIVES and instruction.arrays:
            array = max(instruction.arrays, key=lambda a: a.bytes)
            found[kind, str(array), array.bytes] += times
    rows = [
        {"kind": kind, "array": array, "bytes": size, "count": count}
        for (kind, array, size), count in found.items()
    ]
    return sorted(rows, key=lambda row: -row["bytes"] * row["count"])
