"""The second preset of the package: Qwen3-VL's architecture."""

import os

import numpy as np
import pytest

import keras_stts
from keras_stts import VideoVLM
from keras_stts.datasets import shapes

NAME = "shapes_tiny_qwen3vl"


def load(**changes):
    model = VideoVLM.from_preset(NAME, **changes)
    model.compile(sampler="greedy")
    return model


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files and their questions."""
    folder = tmp_path_factory.mktemp("shapes")
    return shapes.generate(folder, "test", 6)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_answers_about_files(clips, ratio):
    model = load(prune_ratio=ratio)
    answers = model.generate(
        {
            "videos": [row["video"] for row in clips],
            "prompts": [row["question"] for row in clips],
        }
    )
    right = [a == row["answer"] for a, row in zip(answers, clips)]
    assert np.mean(right) > 0.85


def test_what_pruning_keeps(clips):
    """Most of what the questions are about, of half of the blocks."""
    model = load(prune_ratio=0.5)
    shown, kept = 0, 0
    for index in range(6):
        found = model.kept_blocks(clips[8 * index]["video"])
        informative = shapes.render("test", index).informative
        assert found["kept"].shape == informative.shape
        assert found["kept"][::2].sum() == 32
        kept += (found["kept"] & informative).sum()
        shown += informative.sum()
    assert kept > 0.9 * shown


def test_evaluate_and_pictures(clips):
    folder = os.path.dirname(os.path.dirname(clips[0]["video"]))
    model = load(prune_ratio=0.5)
    result = keras_stts.evaluate(
        model, "shapes", folder, limit=16, progress=False
    )
    assert result["accuracy"] > 0.8 and result["vision_tokens"] == 32
    found = model.kept_blocks(clips[0]["video"])
    figure = keras_stts.visualize.plot_kept(
        found["frames"], found["kept"], found["scores"], grid=found["grid"]
    )
    # Frames and scores.
    assert sum(len(axis.images) > 0 for axis in figure.axes) >= 16


def test_videos_of_other_sizes():
    model = load(prune_ratio=0.5)
    rng = np.random.default_rng(0)
    sizes = [(8, 720, 1280), (5, 60, 48), (4, 30, 300), (100, 64, 36)]
    for size in sizes:
        video = rng.integers(0, 256, (*size, 3), dtype="uint8")
        answer = model.generate(
            {"videos": [video], "prompts": ["what shape?"], "fps": 2.0}
        )
        assert len(answer) == 1


def test_fit_learns(clips):
    model = load(prune_ratio=0.5)
    model.compile()
    data = {
        "videos": [row["video"] for row in clips[:16]],
        "prompts": [row["question"] for row in clips[:16]],
        "responses": [row["answer"] + "!" for row in clips[:16]],
    }
    losses = model.fit(data, batch_size=8, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
