"""Runs the examples in docstrings: `python -m tests.docstrings`.

Names of modules, such as `keras_stts.ops`, limit it to these.
"""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import sys
import tempfile

import keras
import numpy as np

import keras_stts


def modules():
    for info in pkgutil.walk_packages(keras_stts.__path__, "keras_stts."):
        # They run in another environment.
        if not info.name.endswith(("._tfdv", "._beam")) and is_asked(info.name):
            yield importlib.import_module(info.name)


def is_asked(name):
    asked = sys.argv[1:] or ["keras_stts"]
    return any(f"{name}.".startswith(f"{each}.") for each in asked)


def documented(module):
    """Objects defined in a module that have a docstring, methods too."""
    for name, item in vars(module).items():
        if getattr(item, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(item) or inspect.isfunction(item):
            yield f"{module.__name__}.{name}", item
        if inspect.isclass(item):
            for key, value in vars(item).items():
                if inspect.isfunction(value):
                    yield f"{module.__name__}.{name}.{key}", value


def run_blocks():
    """Runs each ```python block; returns how many ran and failed."""
    ran = failed = 0
    for module in modules():
        for name, item in documented(module):
            text = inspect.cleandoc(item.__doc__ or "")
            for block in re.findall(r"```python\n(.*?)```", text, re.S):
                ran += 1
                space = {"keras": keras, "np": np, "keras_stts": keras_stts}
                try:
                    exec(compile(block, name, "exec"), space)
                except Exception as error:
                    failed += 1
                    print(f"{name}: {type(error).__name__}: {error}")
    return ran, failed


def run_doctests():
    ran = failed = 0
    for module in modules():
        result = doctest.testmod(module, extraglobs={"np": np})
        ran += result.attempted
        failed += result.failed
    return ran, failed


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ran, failed = np.add(run_blocks(), run_doctests())
    print(f"{ran} examples run, {failed} failed")
    sys.exit(bool(failed) or not ran)


if __name__ == "__main__":
    main()
