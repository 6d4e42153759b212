"""The Python blocks of README.md and of the pages in docs/, run as they stand.

A block whose page says `<!-- not run: why -->` right before it is left out.
What a page shows in a `text` block right after one is what the block prints;
`...` in it stands for anything.
"""

import contextlib
import doctest
import io
import pathlib
import re
from collections import namedtuple

ROOT = pathlib.Path(__file__).parents[1]
Block = namedtuple("Block", ["code", "shown", "not_run"])
FENCED = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n+)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n*^```text\n(?P<shown>.*?)^```\n)?",
    re.S | re.M,
)


def names():
    """Pages with Python blocks, as paths in the repository."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return [name for name in names if blocks(name)]


def blocks(name):
    """The `Block`s of a page, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [
        Block(each["code"], each["shown"], each["why"])
        for each in FENCED.finditer(text)
    ]
    assert len(found) == text.count("```python\n"), f"{name}: an open block"
    return found


def block(name, word):
    """The code of the block of a page that holds a word."""
    (found,) = [each.code for each in blocks(name) if word in each.code]
    return found


def run(code, where="page", **names):
    """Run code in a namespace, by default a new one, and return that."""
    names["__name__"] = "page"
    exec(compile(code, where, "exec"), names)
    return names


def run_page(name, change=str):
    """Run a page from top to bottom.

    Args:
        name: Str, of `names()`.
        change: Function of the code of a block to what is run.

    Returns:
        List of (block, dict of the names that there were after it).
    """
    space, done = {}, []
    for each in blocks(name):
        if each.not_run:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            space = run(change(each.code), name, **space)
        if each.shown is not None:
            check_printed(each, printed.getvalue())
        done.append((each, space))
    return done


def check_printed(block, printed):
    """Whether a page shows what its block prints."""
    same = doctest.OutputChecker().check_output
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert same(block.shown, printed, flags), f"{block.code}\n{printed}"
