"""The table of what takes how much memory."""

PARTS = ("vision_encoder", "scorer", "connector", "language_model", "head")
KINDS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "caches",
    "logits",
    "inputs",
)
UNITS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}


class Memory(dict):
    """Bytes by kind, by part, and in all: printed, it is a table.

    A dict of `"weights"`, `"gradients"`, `"optimizer"`, `"activations"`,
    `"caches"`, `"logits"` and `"inputs"`, which sum up to `"total"`; and of
    `"vision_encoder"`, `"scorer"`, `"connector"`, `"language_model"` and
    `"head"`, which sum up to it too.

    Args:
        table: Dict of part to dict of kind to bytes.
        facts: Dict of what was asked for.

    Attributes:
        table: The same, every part and kind in it.
        facts: The same.
    """

    def __init__(self, table, facts):
        self.table = {
            part: {kind: table.get(part, {}).get(kind, 0) for kind in KINDS}
            for part in PARTS
        }
        self.facts = dict(facts)
        kinds = {
            kind: sum(row[kind] for row in self.table.values())
            for kind in KINDS
        }
        parts = {part: sum(row.values()) for part, row in self.table.items()}
        super().__init__(kinds | parts | {"total": sum(kinds.values())})

    def __str__(self):
        head = ", ".join(f"{n}={v}" for n, v in self.facts.items())
        unit = next((u for u in UNITS if self["total"] >= UNITS[u]), "KiB")
        rows = [[unit, *KINDS, "total"]]
        rows += [
            [part, *row.values(), self[part]]
            for part, row in self.table.items()
        ]
        rows += [["total", *(self[kind] for kind in KINDS), self["total"]]]
        cells = [[_cell(value, UNITS[unit]) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths))
            )
            for row in cells
        ]
        return "\n".join([head, *lines])


def _cell(value, unit):
    return value if isinstance(value, str) else f"{value / unit:.2f}"


def readable(size):
    """A number of bytes for a sentence, such as `"9.1 GiB"`."""
    name = next((u for u in UNITS if size >= UNITS[u]), "KiB")
    return f"{size / UNITS[name]:.1f} {name}"
