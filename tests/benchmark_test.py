"""Counting operations, and timing that at least ran."""

import importlib.util

import numpy as np
import pytest

import keras_stts
from benchmarks.molmo2_4b import IDS
from benchmarks.molmo2_4b import WHOLE
from keras_stts import timing
from keras_stts.flops import block_flops
from keras_stts.flops import packed_pairs
from keras_stts.layers.initializers import weights_to_be_loaded
from tests.tiny import SHALLOW
from tests.tiny import tiny_batch
from tests.tiny import tiny_model


def test_block_flops_by_hand():
    # One token: q, k, v, o of 2x2, an MLP of 2x3 twice; one pair of width 2.
    assert block_flops(2, 2, 3, 1, 1) == 2 * (4 * 4 + 12) + 2 * 2 * 2


@pytest.mark.parametrize(
    ("ratio", "share"), [(0.3, 0.94), (0.5, 0.90), (0.8, 0.85)]
)
def test_layout_is_close_to_an_ideal_kernel(ratio, share):
    kept = keras_stts.ops.num_kept_blocks(81, 32, ratio)
    ours, ideal = (
        block_flops(
            1152,
            1152,
            4304,
            kept * 9,
            packed_pairs(32, 81, kept, 9, layout),
        )
        for layout in ("packed", "ideal")
    )
    assert ideal / ours >= share


def test_flops_fall_with_the_ratio():
    model = tiny_model()
    totals = [model.flops(prune_ratio=r)["total"] for r in (0, 0.25, 0.5)]
    assert totals == sorted(totals, reverse=True)
    assert model.flops(layout="ideal")["total"] <= model.flops()["total"]
    whole = model.flops(prune_ratio=0)
    assert whole["scorer"] == 0
    parts = ("vision_encoder", "connector", "language_model")
    assert whole["total"] == sum(whole[name] for name in parts)


def test_flops_of_molmo2_4b_allow_what_the_paper_counts():
    """2.09x at 128 frames and 2.30x at 256, at most, by halving tokens."""
    with weights_to_be_loaded(True):  # They are never written, nor read.
        backbone = keras_stts.VideoVLMBackbone.from_sizes(
            **WHOLE,
            **IDS,
            num_frames=128,
            dtype="bfloat16",
        )
    for frames, wanted in ((128, 2.09), (256, 2.30)):
        whole, half = (
            keras_stts.flops.count_flops(backbone, frames, ratio)["total"]
            for ratio in (0, 0.5)
        )
        # Ours counts time marks and padding too.
        assert wanted - 0.2 < whole / half < wanted + 0.1


def test_a_model_that_prunes_nothing_counts_as_one_that_does():
    whole, half = tiny_model(prune_ratio=0), tiny_model(prune_ratio=0.5)
    assert whole.flops(prune_ratio=0.5) == half.flops()
    assert half.flops()["scorer"] > 0


def test_unknown_layout():
    with pytest.raises(ValueError, match="`layout` must be one of"):
        tiny_model().flops(layout="best")


def test_benchmark_reports_each_phase_and_restores_the_weights():
    model = tiny_model(**SHALLOW)
    before = model.get_weights()
    phases = ("prefill", "decode", "train_step")
    result = keras_stts.benchmark(
        model, tiny_batch(model), phases=phases, repeats=2
    )
    assert tuple(result) == phases
    for row in result.values():
        assert row["median"] > 0 and row["spread"] >= 0
        assert row["compile"] > 0
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_benchmark_bad_input():
    model = tiny_model()
    with pytest.raises(ValueError, match="`phases` must be of"):
        keras_stts.benchmark(model, tiny_batch(model), phases=("fit",))
    x, *_ = tiny_batch(model)
    with pytest.raises(ValueError, match="train step the inputs need"):
        keras_stts.benchmark(model, x, phases=("train_step",))


def test_models_are_timed_in_turns(monkeypatch):
    """By a clock that the runs themselves put on."""
    called, now = [], [0.0]

    def run(name, seconds):
        seconds = iter(seconds)

        def call():
            called.append(name)
            now[0] += next(seconds)

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    runs = {"a": run("a", [9, 5, 1, 2, 4]), "b": run("b", [8, 5, 3, 3, 3])}
    found = timing.measure_in_turns(runs, repeats=3)
    assert called == ["a", "b"] * 5
    assert found["a"] == {"compile": 9.0, "median": 2.0, "spread": 3.0}
    assert found["b"] == {"compile": 8.0, "median": 3.0, "spread": 0.0}


def test_benchmark_of_several_models():
    models = {r: tiny_model(prune_ratio=r, **SHALLOW) for r in (0.0, 0.5)}
    inputs = tiny_batch(models[0.0])
    found = keras_stts.benchmark(models, inputs, ("prefill",), repeats=1)
    assert list(found) == [0.0, 0.5]
    assert all(row["prefill"]["median"] > 0 for row in found.values())
    with pytest.raises(ValueError, match="must be a model.*an empty dict"):
        keras_stts.benchmark({}, inputs)


def test_benchmark_is_a_function_alone():
    assert callable(keras_stts.benchmark)
    assert importlib.util.find_spec("keras_stts.benchmark") is None
