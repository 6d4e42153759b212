"""The blocks of README.md, to be run as they stand."""

import pathlib
import re

PATH = pathlib.Path(__file__).parents[1] / "README.md"


def blocks():
    """Its Python blocks, in order."""
    text = PATH.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)


def block(word):
    """The one that holds a word."""
    (found,) = [text for text in blocks() if word in text]
    return found


def run(text, **names):
    """Run a block in a namespace of its own, and return that."""
    names["__name__"] = "readme"
    exec(compile(text, "README.md", "exec"), names)
    return names
