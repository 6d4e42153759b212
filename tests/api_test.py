"""The public surface, pinned: a change here is a change for users."""

import inspect
import os
import pathlib
import subprocess
import sys
import tomllib

import keras
import pytest
from packaging.requirements import Requirement

import keras_stts
from tests import public_api


def test_public_names():
    assert keras_stts.__all__ == [
        "EncodedVideo",
        "Qwen3VLPreprocessor",
        "Qwen3VLTokenizer",
        "Qwen3VLVideoConverter",
        "VideoVLM",
        "VideoVLMBackbone",
        "VideoVLMPreprocessor",
        "VideoVLMTokenizer",
        "VideoVLMVideoConverter",
        "__version__",
        "benchmark",
        "callbacks",
        "config",
        "data",
        "datasets",
        "evaluate",
        "evaluation",
        "language",
        "layers",
        "ops",
        "optimizers",
        "pruning",
        "towers",
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
    assert f'`pip install -c constraints.txt ".[{backend}]"`' in run.stderr


@pytest.mark.once
def test_a_kerashub_that_does_not_know_its_keras(tmp_path):
    hub = tmp_path / "keras_hub"
    hub.mkdir()
    (hub / "__init__.py").write_text("from keras.src.backend import gone")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", "import keras_stts"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode
    assert "KerasHub must know its Keras. Received:" in run.stderr
    assert f"Keras {keras.__version__} (cannot import name 'gone'" in run.stderr


@pytest.mark.once
def test_nightlies_never_fail_the_suite():
    script = pathlib.Path(__file__).parents[1] / ".ci" / "nightlies"
    run = subprocess.run(
        ["bash", script],
        env={**os.environ, "PIP_NO_INDEX": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert not run.returncode
    assert run.stdout.startswith("nightlies: not tried, they could not be in")


@pytest.mark.once
def test_one_version_is_told():
    citation = pathlib.Path(__file__).parents[1] / "CITATION.cff"
    line = f"version: {keras_stts.__version__}"
    assert line in citation.read_text("utf-8").splitlines()


@pytest.mark.once
def test_no_pair_that_breaks_can_be_installed():
    """KerasHub 0.32 cannot be imported with Keras 3.16."""
    project = pathlib.Path(__file__).parents[1] / "pyproject.toml"
    needs = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    needs = {Requirement(n).name: Requirement(n).specifier for n in needs}
    assert "3.15.1" in needs["keras"] and "0.32.0" in needs["keras-hub"]
    assert not ("3.16.0" in needs["keras"] and "0.32.0" in needs["keras-hub"])


@pytest.mark.once
def test_public_signatures():
    """After a change that is meant: `python -m tests.public_api`."""
    pinned = public_api.PINNED.read_text("utf-8").splitlines()
    assert list(public_api.lines()) == pinned


@pytest.mark.once
def test_public_classes_have_an_example():
    modules = (keras_stts.layers, keras_stts.ops, keras_stts.data)
    modules += (keras_stts.evaluation, keras_stts.callbacks)
    for module in (*modules, keras_stts.optimizers):
        for value in (getattr(module, name) for name in module.__all__):
            if inspect.isclass(value):
                assert "```python" in value.__doc__, value
