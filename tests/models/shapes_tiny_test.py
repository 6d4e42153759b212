"""The preset of the package, in the hands of someone new."""

import keras
import numpy as np
import pytest

from keras_stts import VideoVLM
from keras_stts.datasets import shapes
from keras_stts.optimizers import default_learning_rate


@pytest.fixture(scope="module")
def model():
    model = VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    model.compile(sampler="greedy")
    return model


def test_long_questions_and_long_clips(model):
    clip = shapes.render("test", 0)
    asked = clip.questions[0]
    tokenizer = model.preprocessor.tokenizer
    question = asked["question"]
    while len(tokenizer(question)) < 23:
        question += " and how?"
    hour = np.zeros((7200, 4, 4, 3), "uint8")  # Two frames a second.
    answers = model.generate(
        {
            "videos": [clip.frames, hour[:2400], hour],
            "prompts": [asked["question"], question, question],
        }
    )
    assert answers[0] == asked["answer"] and len(answers) == 3
    x = model.preprocessor({"videos": [hour], "prompts": ["?"]})
    assert x["frame_mask"].all()


def test_room_changes_no_answer(model):
    """The preset was trained in a room of 16 and 5 tokens."""
    tight = VideoVLM.from_preset(
        "shapes_tiny", prune_ratio=0.5, sequence_length=16, time_tokens=5
    )
    clip = shapes.render("test", 1)
    inputs = {
        "videos": [clip.frames] * 4,
        "prompts": [asked["question"] for asked in clip.questions[:4]],
    }
    tight.compile(sampler="greedy")
    assert tight.generate(inputs) == model.generate(inputs)


@pytest.mark.skipif(keras.config.backend() != "torch", reason="One is enough.")
def test_the_default_fit_learns():
    """README's call: a lesson that the preset knows nothing of."""
    keras.utils.set_random_seed(0)
    model = VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    clips = [shapes.render("train", i) for i in range(3)]
    rows = [(c.frames, asked) for c in clips for asked in c.questions]
    data = {
        "videos": [frames for frames, _ in rows],
        "prompts": [asked["question"] for _, asked in rows],
        "responses": [asked["answer"] + "!" for _, asked in rows],
    }
    losses = model.fit(data, batch_size=8, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_learning_rates_by_width():
    rates = [default_learning_rate(width) for width in (4096, 2560, 512, 96)]
    assert rates == [1e-5, 1e-5, 2.5e-4, 1e-3]
    model = VideoVLM.from_preset("shapes_tiny", load_weights=False)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
