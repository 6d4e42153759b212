"""The tables of docs/recipes.md are what is counted today."""

import importlib
import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.mark.once
def test_tables_of_the_page(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    recipes = importlib.import_module("benchmarks.recipes")
    page = recipes.PAGE.read_text(encoding="utf-8")
    for name in ("Molmo2-8B", "Qwen3-VL-4B"):
        row = next(
            line
            for line in recipes.table(name, tmp_path).splitlines()
            if line.startswith("| train LoRA")
        )
        assert row in page
    assert recipes.times() in page
