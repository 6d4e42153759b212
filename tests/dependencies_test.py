"""What the package imports is what pip is told to install."""

import ast
import pathlib
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.house import imported
from tests.house import modules

pytestmark = pytest.mark.once

PROJECT = tomllib.loads(
    (pathlib.Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
)["project"]
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
