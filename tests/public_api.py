"""What users can call: names and signatures of public modules, as text.

`python -m tests.public_api` writes it anew, after a change that is meant.
"""

import importlib
import inspect
import pathlib
import re

MODULES = (
    "keras_stts.callbacks",
    "keras_stts.config",
    "keras_stts.data",
    "keras_stts.datasets.shapes",
    "keras_stts.evaluation",
    "keras_stts.evaluation.plots",
    "keras_stts.language",
    "keras_stts.layers",
    "keras_stts.ops",
    "keras_stts.optimizers",
    "keras_stts.pruning",
    "keras_stts.towers",
    "keras_stts.visualize",
)
FUNCTIONS = ("keras_stts.benchmark", "keras_stts.evaluate")
PINNED = pathlib.Path(__file__).with_name("public_api.txt")


def _signature(value):
    """With functions that are defaults by name, not by address."""
    text = str(inspect.signature(value))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


def lines():
    """A line for each name; of classes one for each method of their own."""
    for name in FUNCTIONS:
        module, _, last = name.rpartition(".")
        value = getattr(importlib.import_module(module), last)
        yield from _lines_of(name, value)
    for module in map(importlib.import_module, MODULES):
        for name in sorted(module.__all__):
            value = getattr(module, name)
            yield from _lines_of(f"{module.__name__}.{name}", value)


def _lines_of(name, value):
    if not callable(value):
        yield f"{name}: {type(value).__name__}"
    elif inspect.isclass(value) and issubclass(value, Exception):
        yield f"{name}({value.__base__.__name__})"
    else:
        yield name + _signature(value)
    if inspect.isclass(value):
        for key, member in sorted(vars(value).items()):
            if not key.startswith("_"):
                yield from _lines_of_member(f"{name}.{key}", member)


def _lines_of_member(name, member):
    function = getattr(member, "__func__", member)
    if inspect.isfunction(function):
        yield name + _signature(function)
    elif isinstance(member, property):
        yield f"{name}: property"


if __name__ == "__main__":
    text = "".join(line + "\n" for line in lines())
    PINNED.write_text(text, encoding="utf-8")
