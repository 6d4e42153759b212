"""What the package imports is what pip is told to install."""

import ast
import pathlib
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from keras_stts._install import how_to_install
from tests.house import imported
from tests.house import modules

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[1]
TEXTS = {".ipynb", ".md", ".py", ".yml"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# In the environment of TensorFlow Data Validation, or of who calls the plugin.
ELSEWHERE = {
    "apache-beam",
    "google",
    "lmms-eval",
    "tensorflow-data-validation",
    "tensorflow-metadata",
}


def packages(names):
    """What pip calls the packages that modules are of."""
    found = {name.partition(".")[0] for name in names}
    found -= {"keras_stts", *sys.stdlib_module_names}
    renamed = {"PIL": "pillow"}
    return {renamed.get(n, n).replace("_", "-").lower() for n in found}


def declared(requirements):
    return {Requirement(each).name for each in requirements}


def loaded():
    """Names of the modules that `import keras_stts` imports."""
    found, waiting = set(), ["keras_stts"]
    while waiting:
        name = waiting.pop()
        if name in found or name not in modules():
            continue
        found.add(name)
        names = list(imported(at_once(modules()[name])))
        waiting += names + [name.rpartition(".")[0] for name in names]
    return found


def at_once(tree):
    """The imports of a module that are neither in functions nor tried."""
    kinds = (ast.Import, ast.ImportFrom)
    return ast.Module([n for n in tree.body if isinstance(n, kinds)], [])


def test_what_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"].values()
    known = declared(PROJECT["dependencies"]).union(*map(declared, extras))
    names = [n for tree in modules().values() for n in imported(tree)]
    assert packages(names) <= known | ELSEWHERE


def test_what_is_needed_at_once_is_no_extra():
    names = [n for m in loaded() for n in imported(at_once(modules()[m]))]
    assert len(loaded()) > 100
    assert packages(names) <= declared(PROJECT["dependencies"])


def test_nothing_is_declared_that_is_not_imported():
    names = [n for tree in modules().values() for n in imported(tree)]
    assert declared(PROJECT["dependencies"]) <= packages(names)


# The package is on no index, where anyone could register its name.
AT_AN_INDEX = re.compile(
    r"pypi\.org/project/keras|\bkeras-stts\[(?![\w,]+\] @ git\+)"
    r"|pip install [^`\n]*(?<![./\w])keras[-_]stts\b(?!/|\[[\w,]+\] @ git\+)"
)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("pip install keras-stts", True),
        ('pip install -U "keras_stts[torch]"', True),
        ("from a clone of keras-stts[shards]", True),
        ("https://pypi.org/project/keras-stts", True),
        ('`pip install ".[torch]"` in a clone of keras_stts', False),
        ('pip install "keras-stts[torch] @ git+$REPOSITORY"', False),
        ("pip install --no-deps ./keras_stts_clone", False),
    ],
)
def test_what_names_an_index(text, is_named):
    assert bool(AT_AN_INDEX.search(text)) == is_named


def test_no_index_is_named():
    """A release changes `keras_stts/_install.py` and docs/start.md."""
    files = [p for p in ROOT.glob("*.md")]
    for folder in ("keras_stts", "docs", "examples", "benchmarks", ".github"):
        files += [p for p in (ROOT / folder).rglob("*") if p.suffix in TEXTS]
    texts = {p.relative_to(ROOT): p.read_text("utf-8") for p in files}
    assert len(texts) > 400
    assert not [p for p, text in texts.items() if AT_AN_INDEX.search(text)]


def test_the_text_for_an_index():
    """It begins as README.md does, and no link in it leads nowhere."""
    text, readme = PROJECT["readme"]["text"], (ROOT / "README.md").read_text()
    assert text.split("\n\n")[0].strip() == readme.split("\n\n")[1]
    assert not re.findall(r"\]\((?!https://)", text)


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_how_to_install(extra):
    assert f'".[{extra}]"' in how_to_install(extra)
    page = (ROOT / "docs" / "start.md").read_text("utf-8")
    assert "## Install\n" in page
    assert f"`{extra}`" in page
