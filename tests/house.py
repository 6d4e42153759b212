"""The package's modules as syntax trees."""

import ast
import functools
import pathlib

ROOT = pathlib.Path(__file__).parents[1] / "keras_stts"


@functools.cache
def modules():
    """Dict of a module's name to its syntax tree."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(p for p in parts if p != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree):
    """Full names of what a module imports, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
