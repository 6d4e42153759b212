"""What is in a compiled program: computations and how often they run.

XLA's text has a block a computation. What a fusion does inside leaves nothing
in memory; of `ENTRY` and of bodies of loops every result is a buffer.
"""

import dataclasses
import math
import re

HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
LINE = re.compile(
    r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|[^ (]\S*) ([a-z][\w\-]*)\((.*)$"
)
ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([0-9,]*)\](?:\{([^}]*)\})?")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
CALLED = re.compile(
    r"(body|condition|to_apply|calls|true_computation|false_computation)"
    r"=%?([\w.\-]+)"
)
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
BITS = {
    "pred": 8,
    "bf16": 16,
    **{f"{kind}{bits}": bits for kind in "sufc" for bits in (8, 16, 32, 64)},
    **{f"{kind}4": 4 for kind in "su"},
    "c128": 128,
    "f8e4m3fn": 8,
    "f8e5m2": 8,
}


@dataclasses.dataclass(frozen=True)
class Array:
    """An array in memory.

    Args:
        dtype: Str, as XLA writes it.
        shape: Tuple of ints.
        bytes: Int, of the whole, with what its tiles pad.
        space: Int. `0` is the chip's large memory.
    """

    dtype: str
    shape: tuple
    bytes: int
    space: int = 0

    def __str__(self):
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a program.

    Args:
        name: Str.
        opcode: Str.
        arrays: List of `Array`, its results.
        rest: Str, operands and attributes.
        source: Str. What it was made from.
    """

    name: str
    opcode: str
    arrays: list
    rest: str

    @property
    def source(self):
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""


def arrays(text):
    """List of `Array` in the shape of an instruction, or of a tuple."""
    return [
        _array(*match.groups())
        for match in ARRAY.finditer(text)
        if match[1] in BITS
    ]


def _array(dtype, dims, layout):
    shape = tuple(int(n) for n in dims.split(",") if n)
    layout = layout or ""
    space = re.search(r"S\((\d+)\)", layout)
    count = math.prod(_padded(shape, layout))
    size = count * BITS[dtype] // 8
    return Array(dtype, shape, size, int(space[1]) if space else 0)


def _padded(shape, layout):
    """A shape, filled up to whole tiles, such as of {1,0:T(8,128)}."""
    order = re.match(r"[\d,]+", layout)
    tile = re.search(r"T\(([\d,]+)\)", layout)
    if not order or not tile:
        return shape
    shape = list(shape)
    minor = [int(n) for n in order[0].split(",") if n]
    for axis, size in zip(minor, reversed(tile[1].split(","))):
        shape[axis] = -(-shape[axis] // int(size)) * int(size)
    return shape


def computations(text):
    """Tuple (name of the entry, dict of name to list of `Instruction`)."""
    entry, found, current = None, {}, None
    for line in text.splitlines():
        header = HEADER.match(line)
        if header:
            current = found[header[2]] = []
            entry = header[2] if header[1] else entry
        elif current is not None:
            match = LINE.match(line)
            if match:
                name, shape, opcode, rest = match.groups()
                current.append(Instruction(name, opcode, arrays(shape), rest))
    return entry, found


def _calls(instruction):
    """List of (kind, name) of the computations that an instruction runs."""
    rest = instruction.rest
    called = CALLED.findall(rest)
    for names in BRANCHES.findall(rest):
        called += [("branch", n.strip(" %")) for n in names.split(",")]
    return called


def walk(text, fusions=False):
    """Yield (instruction, times it runs) of all that a program runs.

    Args:
        text: Str. The compiled program.
        fusions: Bool. Whether to go into what leaves nothing in memory.

    Loops of unknown length count once.
    """
    entry, found = computations(text)
    waiting = [(entry, 1)]
    while waiting:
        name, times = waiting.pop()
        for instruction in found.get(name, ()):
            yield instruction, times
            for kind, called in _calls(instruction):
                if fusions or _is_run(kind, instruction.opcode):
                    trips = TRIPS.search(instruction.rest)
                    loop = instruction.opcode == "while" and trips
                    n = int(trips[1]) if loop else 1
                    waiting.append((called, times * n))


def _is_run(kind, opcode):
    """Whether results inside of a called computation are buffers."""
    if kind in ("to_apply", "calls"):
        return opcode in ("call", "async-start")
    return True
