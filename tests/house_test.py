"""The house: what every module of the package keeps to.

What is not there yet is listed by name, and these lists only shrink.
"""

import ast
import collections
import functools
import graphlib
import statistics

import keras
import keras_hub
import pytest

from tests.house import imported
from tests.house import modules

pytestmark = pytest.mark.once

COMPAT = "keras_stts._hub_compat"
NAMEDTUPLE = {"_asdict", "_fields", "_make", "_replace"}
# Documented, or without a public name.
OF_PYTHON = {"os._exit", "tempfile._TemporaryFileWrapper"}
OF_PYTHON |= {"torch._foreach_copy_"}
# Of Jinja's filters and globals: a template may tell them by place.
TEMPLATES = "keras_stts.preprocessing.chat_g"
OF_JINJA = {"_indent", "_to_json", "_wordwrap", "lorem_ipsum", "to_json"}
MOST_LINES, MEDIAN_LINES, MEDIAN_FUNCTION, MOST_POSITIONAL = 400, 140, 12, 5

# Methods whose signatures are those of Keras' base classes.
OF_KERAS = {"build", "call", "compute_output_spec", "from_config", "quantize"}
OF_KERAS |= {"fit", "from_preset", "generate", "make_predict_function"}
OF_KERAS |= {"make_test_function", "make_train_function"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def is_reached_into(name, user):
    """Whether a module may not use a name: `a.b._c` is for `a.b` alone."""
    parts = name.split(".")
    if parts[0] in ("keras", "keras_hub"):
        return user != COMPAT and "src" in parts[1:]
    if parts[0] != "keras_stts":
        return False
    owners = (".".join(parts[:i]) for i, p in enumerate(parts) if is_private(p))
    return not all(f"{user}.".startswith(f"{owner}.") for owner in owners)


def defined(tree):
    """Names that a module gives to what is its own."""
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and is_own(node):
            if isinstance(node.ctx, ast.Store):
                yield node.attr


def is_own(attribute):
    owner = attribute.value
    return isinstance(owner, ast.Name) and owner.id in ("self", "cls")


@functools.cache
def names_of_keras():
    """Private methods of the classes that are inherited from."""
    classes = [
        keras.Model,
        keras.optimizers.Optimizer,
        keras.callbacks.Callback,
    ]
    classes += [keras_hub.models.CausalLM, keras_hub.models.Backbone]
    classes += [keras_hub.models.CausalLMPreprocessor]
    classes += [keras_hub.tokenizers.BytePairTokenizer]
    return {name for cls in classes for name in dir(cls) if is_private(name)}


def private_uses(name, tree):
    """Private names that are not the module's own, each as often as used."""
    own = set(defined(tree)) | NAMEDTUPLE
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = {getattr(each, "name", "") for each in node.body}
            yield from methods & names_of_keras()
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        if ast.unparse(node) in OF_PYTHON:
            continue
        if node.attr not in own or node.attr in names_of_keras():
            yield node.attr


def test_no_private_names_across_modules():
    used = collections.Counter()
    for name, tree in modules().items():
        used.update(n for n in imported(tree) if is_reached_into(n, name))
        if name != COMPAT:
            used.update(private_uses(name, tree))
    assert not used


def imports_between():
    """Dict of a module to those of the package that it imports."""
    graph = {}
    for name, tree in modules().items():
        found = (
            full if full in modules() else full.rpartition(".")[0]
            for full in imported(tree)
        )
        graph[name] = set(found) & set(modules()) - {name}
    return graph


def test_no_circle_of_imports():
    graph = imports_between()
    list(graphlib.TopologicalSorter(graph).static_order())


def test_a_name_is_a_module_or_something_else():
    taken = {
        full
        for name, tree in modules().items()
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (full := f"{name}.{alias.asname or alias.name}") in modules()
        and f"{node.module}.{alias.name}" != full
    }
    assert not taken


def is_unbounded(function):
    """Whether what a function returns is kept for any number of arguments."""
    kept = {ast.unparse(each) for each in function.decorator_list}
    names = {"functools.cache", "functools.lru_cache(None)"}
    names |= {"functools.lru_cache(maxsize=None)"}
    return bool(kept & names) and bool(ast.unparse(function.args))


def test_caches_have_bounds():
    unbounded = {
        node.name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and is_unbounded(node)
    }
    calls = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node).startswith("functools.lru_cache(None)(")
    }
    assert not unbounded | calls


def lines_of(name):
    last = modules()[name].body[-1:]
    return last[0].end_lineno if last else 0


def test_small_rooms():
    lines = {name: lines_of(name) for name in modules()}
    assert max(lines.values()) <= MOST_LINES
    assert statistics.median(lines.values()) <= MEDIAN_LINES
    functions = [
        node.end_lineno - node.lineno + 1
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
    ]
    assert statistics.median(functions) <= MEDIAN_FUNCTION


def is_untidy(function):
    """Whether a boolean, or more than five arguments, are told by place."""
    arguments = function.args.posonlyargs + function.args.args
    names = [a.arg for a in arguments if a.arg not in ("self", "cls")]
    booleans = [
        default
        for default in function.args.defaults
        if isinstance(default, ast.Constant) and isinstance(default.value, bool)
    ]
    return bool(booleans) or len(names) > MOST_POSITIONAL


def test_options_are_told_by_name():
    untidy = [
        f"{name}.{node.name}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and is_untidy(node)
        if node.name not in OF_KERAS
        if not (name.startswith(TEMPLATES) and node.name in OF_JINJA)
    ]
    assert not untidy
