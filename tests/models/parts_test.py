"""Training parts of a model, and each at its own rate."""

import keras
import numpy as np
import pytest

from keras_stts import VideoVLM
from keras_stts.optimizers import PartwiseAdamW
from keras_stts.training.parts import PARTS
from keras_stts.training.parts import part_of
from tests.models import tiny


def changes(model, **kwargs):
    """Largest change of a weight of each part after a step of training."""
    model.compile(run_eagerly=keras.config.backend() == "tensorflow", **kwargs)
    before = [keras.ops.convert_to_numpy(v) for v in model.weights]
    model.fit(tiny.raw(), batch_size=3, verbose=0)
    result = dict.fromkeys(PARTS, 0.0)
    for variable, old in zip(model.weights, before):
        if "token_embedding" in variable.path:
            # TensorFlow's Adam squares the gradients of repeated tokens one
            # by one, so that its step is longer.
            continue
        new = keras.ops.convert_to_numpy(variable)
        change = float(np.max(np.abs(new - old)))
        result[part_of(variable)] = max(result[part_of(variable)], change)
    return result


def test_every_part_has_variables():
    model = tiny.shallow()
    assert {part_of(v) for v in model.weights} == set(PARTS)
    counted = sum(
        v.path.startswith("lm_head")
        for v in model.weights
        if part_of(v) == "language_model"
    )
    assert counted == 1


@pytest.mark.parametrize("parts", [("scorer", "connector"), ["scorer"]])
def test_only_these_parts_are_trained(parts):
    moved = changes(
        tiny.shallow(task={"trainable_parts": parts}), optimizer="adam"
    )
    assert {part for part in PARTS if moved[part]} == set(parts)


def test_an_idle_scorer_stays_frozen():
    model = tiny.shallow(task={"trainable_parts": PARTS}, prune_ratio=0)
    assert "scorer" not in {part_of(v) for v in model.trainable_variables}


def test_parts_are_an_argument_of_from_preset(tmp_path):
    path = str(tmp_path / "preset")
    tiny.shallow(task={"trainable_parts": ["connector"]}).save_to_preset(path)
    loaded = VideoVLM.from_preset(path)
    assert loaded.trainable_parts == ["connector"]
    assert {part_of(v) for v in loaded.trainable_variables} == {"connector"}
    loaded = VideoVLM.from_preset(path, trainable_parts=["scorer"])
    assert {part_of(v) for v in loaded.trainable_variables} == {"scorer"}


@pytest.mark.parametrize("parts", ["scorer", ["score"]])
def test_unknown_parts(parts):
    with pytest.raises(ValueError, match="must be a list of scorer, vision_"):
        tiny.shallow(task={"trainable_parts": parts})


def test_each_part_has_its_rate():
    rates = {"scorer": 10.0, "vision_encoder": 0.5, "connector": 0.0}
    moved = changes(
        tiny.shallow(),
        optimizer=PartwiseAdamW(1e-3, rates, weight_decay=0.0, epsilon=1e-12),
    )
    # The first step of Adam is as long as the learning rate.
    wanted = {**rates, "language_model": 1.0}
    for part in PARTS:
        assert moved[part] == pytest.approx(1e-3 * wanted[part], rel=0.02)


def test_optimizer_config():
    optimizer = PartwiseAdamW(1e-4, {"scorer": 3.0}, weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.multipliers == {"scorer": 3.0}
    with pytest.raises(ValueError, match="may name the parts scorer"):
        PartwiseAdamW(multipliers={"head": 1.0})
