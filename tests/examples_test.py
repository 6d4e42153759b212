"""The examples that are not run elsewhere."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def cells(path):
    """The cells of a script in percent format, as a notebook has them."""
    result = []
    for part in path.read_text("utf-8").split("# %%")[1:]:
        kind, _, text = part.partition("\n")
        is_text = "[markdown]" in kind
        lines = text.strip().split("\n")
        if is_text:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        cell = {
            "cell_type": "markdown" if is_text else "code",
            "id": f"cell-{len(result)}",
            "metadata": {},
            "source": "\n".join(lines),
        }
        if not is_text:
            cell |= {"execution_count": None, "outputs": []}
        result.append(cell)
    return result


def as_notebook(path):
    kernel = {"display_name": "Python 3", "name": "python3"}
    notebook = {
        "cells": cells(path),
        "metadata": {"kernelspec": {**kernel, "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1) + "\n"


def test_the_notebook_is_the_script():
    """`python -m tests.examples_test` writes it anew."""
    script = EXAMPLES / "train_on_folder.py"
    assert script.with_suffix(".ipynb").read_text("utf-8") == as_notebook(
        script
    )


@pytest.mark.skipif(keras.config.backend() != "torch", reason="Once is enough.")
def test_train_on_folder(tmp_path):
    result = subprocess.run(
        [sys.executable, EXAMPLES / "train_on_folder.py", "--small"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
    )
    assert not result.returncode, result.stderr
    assert "skipped: 16" in result.stdout
    assert "000000.mp4" in result.stdout and "of 32 right" in result.stdout


if __name__ == "__main__":
    script = EXAMPLES / "train_on_folder.py"
    script.with_suffix(".ipynb").write_text(as_notebook(script))
