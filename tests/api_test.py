"""The public surface, pinned: a change here is a change for users."""

import os
import subprocess
import sys

import pytest

import keras_stts


def test_public_names():
    assert keras_stts.__all__ == [
        "VideoVLM",
        "VideoVLMBackbone",
        "VideoVLMPreprocessor",
        "VideoVLMTokenizer",
        "VideoVLMVideoConverter",
        "__version__",
        "benchmark",
        "callbacks",
        "data",
        "datasets",
        "evaluate",
        "evaluation",
        "layers",
        "ops",
        "optimizers",
        "pruning",
        "visualize",
    ]
    assert keras_stts.layers.__all__ == [
        "AuxiliaryLoss",
        "RaggedPacking",
        "ScoreBias",
        "ScorerMLP",
        "TokenPooler",
        "TokenPruning",
        "TokenScorer",
    ]
    assert keras_stts.evaluation.__all__ == [
        "BENCHMARKS",
        "PARSERS",
        "Benchmark",
        "Question",
        "evaluate",
        "get_benchmark",
        "load_results",
        "plots",
        "table",
    ]
    modules = (keras_stts, keras_stts.layers, keras_stts.ops)
    for module in (*modules, keras_stts.pruning):
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_missing_backend_says_what_to_install(backend):
    program = f"import sys; sys.modules[{backend!r}] = None; import keras_stts"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert run.returncode
    assert f"pip install keras-stts[{backend}]" in run.stderr
