"""Models that are only compiled store what is counted."""

import importlib
import pathlib

import keras
import pytest

from benchmarks.aot import abstract
from tests.benchmarks.compile_cases import SIZES

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        keras.config.backend() != "jax", reason="JAX alone compiles them."
    ),
]
BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def test_integers_in_place_of_what_is_not_trained(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    weights_of = importlib.import_module("benchmarks.memory").weights_of
    trained = ["scorer", "connector"]
    model = abstract.make_model(
        SIZES, 4, 0.5, trainable=trained, quantization="int8"
    )
    row = {"quantization": "int8", "dtype": "bfloat16"}
    counted = weights_of({**SIZES, "num_frames": 4}, row, trained)
    stored = {w.path: (tuple(w.shape), w.dtype) for w in model.weights}
    assert stored == {w.path: (w.shape, w.dtype) for w in counted}
    dtypes = {w.path: w.dtype for w in model.weights}
    assert dtypes["vision_encoder/block_0/query/kernel"] == "int8"
    assert dtypes["connector/up/kernel"] == "bfloat16"
    parts = {v.path.split("/")[0] for v in model.trainable_variables}
    assert parts == {"pruning", "connector"}  # The scorer is of the one.
