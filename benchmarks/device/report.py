"""What was measured, as a file of JSON and as tables in Markdown."""

import json
import pathlib

# The paper's speed-up of a train step and of inference, at half; it calls
# 64 frames of two videos 128 frames.
PAPER = {(64, 2): (1.62, 1.61), (256, 1): (2.25, 2.22)}


class Report:
    """A result that is on the disk after each row.

    Args:
        path: Path of the JSON file.
        facts: Dict, what the result begins with.
    """

    def __init__(self, path, facts):
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.result = {**facts, "machines": {}, "rows": []}
        self._write()

    def keep(self, backend, message):
        """Add what a process said of a backend."""
        if "machine" in message:
            self.result["machines"][backend] = message["machine"]
        if "row" in message:
            row = {"backend": backend, **message["row"]}
            self.result["rows"].append(row)
        compare(self.result["rows"])
        self._write()

    def _write(self):
        text = json.dumps(self.result, indent=1) + "\n"
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(self.path)


def compare(rows):
    """Add to each row its speed-up over the whole, and what is counted.

    `"speedup"` is measured, `"counted"` what operations allow (in decoding,
    bytes), `"reached"` the one as a share of the other.
    """
    groups = {}
    for row in rows:
        if "seconds" in row:
            groups.setdefault(_group(row), {})[row["variant"]] = row
    for group in groups.values():
        base = group.get("whole")
        for name, row in group.items():
            if base is None or name == "whole":
                continue
            row["speedup"] = base["seconds"] / row["seconds"]
            unit = "bytes" if "bytes" in row else "operations"
            if unit in row and unit in base:
                row["counted"] = base[unit] / row[unit]
                row["reached"] = row["speedup"] / row["counted"]


def _group(row):
    names = ("backend", "task", "phase", "frames", "batch")
    return tuple(row.get(name) for name in names)


def wrong(rows):
    """Checks that found something wrong, and those that could not run."""
    checks = ("golden", "attention", "transformers")
    return [
        row
        for row in rows
        if row.get("right") is False
        or (
            row["task"] in checks
            and row["status"].startswith("failed")
            and "seconds" not in row
        )
    ]


def markdown(result):
    """All tables."""
    rows = result["rows"]
    parts = [_heading(result), _checks(rows), _times(rows), _others(rows)]
    return "\n\n".join(part for part in [*parts, paper(rows)] if part)


def _heading(result):
    lines = [f"# {result['date']}, keras_stts {result['keras_stts']}"]
    for backend, machine in result["machines"].items():
        facts = [f"{name} {value}" for name, value in machine.items() if value]
        lines.append(f"- {backend}: {', '.join(facts)}")
    return "\n".join(lines)


def _table(head, lines):
    rule = ["---"] * len(head)
    return "\n".join(
        "| " + " | ".join(map(str, line)) + " |"
        for line in (head, rule, *lines)
    )


def _checks(rows):
    found = [row for row in rows if "right" in row]
    if not found:
        return ""
    lines = [
        (
            row["backend"],
            row["case"],
            row.get("dtype", ""),
            f"{row['error']:.1e}",
            f"{row['bound']:.0e}",
            f"{max(row['slope_errors'].values()):.1e}"
            if "slope_errors" in row
            else "",
            "right" if row["right"] else "**wrong**",
        )
        for row in found
    ]
    head = ("", "check", "dtype", "error", "bound", "slopes' error", "")
    return "## Right?\n\n" + _table(head, lines)


def _times(rows):
    lines = [
        (
            row["backend"],
            row["phase"],
            _shape(row),
            row["variant"],
            f"{1000 * row['seconds']:.4g} ± {500 * row['spread']:.2g}",
            _number(row, "speedup"),
            _number(row, "counted"),
            _number(row, "reached"),
            _rate(row),
            _gib(row),
            _number(row, "compile_seconds", ".0f"),
        )
        for row in rows
        if "seconds" in row
    ]
    if not lines:
        return ""
    head = ("", "phase", "frames", "variant", "ms", "speed-up", "counted")
    head += ("reached", "rate", "memory, GiB", "compiled in, s")
    return "## Times\n\n" + _table(head, lines)


def _shape(row):
    batch = row.get("batch", 1)
    return f"{row['frames']} x {batch}" if batch > 1 else str(row["frames"])


def _number(row, name, form=".2f"):
    return format(row[name], form) if row.get(name) is not None else ""


def _rate(row):
    if "operations" in row:
        return f"{row['operations'] / row['seconds'] / 1e12:.4g} TFLOP/s"
    if "bytes" in row:
        return f"{row['bytes'] / row['seconds'] / 1e12:.3g} TB/s"
    return ""


def _gib(row):
    held = row.get("memory")
    return f"{held / 2**30:.2f}" if held else ""


def _others(rows):
    """What is neither a check nor a time: skipped, failed, no memory."""
    lines = [
        (
            row["backend"],
            row["task"],
            row.get("phase", ""),
            row.get("variant", row.get("case", "")),
            row["status"],
        )
        for row in rows
        if row["status"] != "ok"
    ]
    if not lines:
        return ""
    head = ("", "task", "phase", "variant", "what became of it")
    return "## Not measured\n\n" + _table(head, lines)


def paper(rows):
    """The paper's figures beside what was reached here."""
    lines = []
    for (frames, batch), figures in PAPER.items():
        for phase, figure in zip(("train step", "prefill"), figures):
            for row in rows:
                here = (row.get("frames"), row.get("batch"), row.get("phase"))
                if here == (frames, batch, phase) and "speedup" in row:
                    lines.append(
                        f"- {row['backend']}, {phase}, {frames} x {batch}: "
                        f"paper {figure:.2f}x, here {row['speedup']:.2f}x, "
                        f"counted {row['counted']:.2f}x"
                    )
    if not lines:
        lines = ["- none of its shapes was measured here"]
    trained = ", ".join(
        f"{figures[0]:.2f}x at {frames} x {batch}"
        for (frames, batch), figures in PAPER.items()
    )
    filled = " and ".join(f"{figures[1]:.2f}x" for figures in PAPER.values())
    head = f"paper: {trained} (train step; {filled} of a prefill)"
    return "\n".join([f"## 50% pruned, {head}\n", *lines])
