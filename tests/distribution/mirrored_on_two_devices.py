"""What a `MirroredStrategy` on two devices does is what one device does."""

import contextlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stts
from tests.data.reading_test import write
from tests.models import tiny

SIZES = {
    "vision_num_layers": 2,
    "vision_feature_layers": [1, 0],
    "prune_layer": 0,
    "num_layers": 1,
}
# Responses and videos differ in length; the last of three rows is alone.
LENGTHS = (4, 2, 3)


@pytest.fixture(scope="module", autouse=True)
def devices():
    """Two devices, made of one before TensorFlow begins."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )


def mirrored():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope()


def make(scope=contextlib.nullcontext, **kwargs):
    with scope():
        model = tiny.model(**SIZES, **kwargs)
        # Gradients are clipped, and small ones count little.
        optimizer = keras_stts.optimizers.PartwiseAdamW(
            0.01, clipnorm=0.01, epsilon=0.1
        )
    model.compile(optimizer, sampler="greedy", run_eagerly=True)
    return model


def train(model, x, **kwargs):
    """Losses of training and evaluating, and the weights."""
    if isinstance(x, dict):
        kwargs |= {"batch_size": 2, "validation_data": (x,), "shuffle": False}
    history = model.fit(x, epochs=2, verbose=0, **kwargs).history
    history = {k: v for k, v in history.items() if "loss" in k}
    found = model.evaluate(tiny.raw(), batch_size=2, verbose=0)
    weights = map(keras.ops.convert_to_numpy, model.trainable_variables)
    return history, found, list(weights)


def assert_same(ours, theirs):
    flat = keras.tree.flatten(ours), keras.tree.flatten(theirs)
    assert len(flat[0]) == len(flat[1])
    for one, other in zip(*flat):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_training_evaluating_predicting_and_answering():
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 4, 0.5)
    task = {"aux_coefficient": schedule}
    ours, theirs = make(mirrored, task=task), make(task=task)
    found = train(ours, tiny.raw(LENGTHS))
    assert_same(found, train(theirs, tiny.raw(LENGTHS)))
    assert found[0]["loss"][1] < found[0]["loss"][0]
    steps = ours.auxiliary_loss.iterations
    assert keras.ops.convert_to_numpy(steps) == 4
    questions = tiny.raw(LENGTHS, responses=False)
    logits = [
        model.predict(questions, batch_size=2, verbose=0)
        for model in (ours, theirs)
    ]
    assert len(logits[0]) == len(LENGTHS)
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)
    answers = ours.generate(questions, max_length=24)
    assert answers == theirs.generate(questions, max_length=24)


def test_data_sets_backups_and_evaluations(tmp_path):
    clip = write(tmp_path / "a.mp4", "-c:v libx264", seconds=2)
    rows = [
        {"video": str(clip), "prompt": f"what {i}?", "response": "a " * i}
        for i in range(1, 4)
    ]
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = []
    for name, scope in (("two", mirrored), ("one", contextlib.nullcontext)):
        model = make(scope)
        backup = keras_stts.callbacks.Backup(tmp_path / name, every=1)
        data = keras_stts.data.VideoDataset(
            keras_stts.data.read_manifest(table),
            model.preprocessor,
            2,
            num_workers=1,
            seed=1,
        )
        with data:
            trained = train(model, data, callbacks=[backup])
            # Nothing is left to do.
            model.fit(data, epochs=2, callbacks=[backup], verbose=0)
        result = keras_stts.evaluate(
            model, table, batch_size=2, max_new_tokens=3, progress=False
        )
        found.append([*trained, result["accuracy"]])
    assert_same(*found)


def test_another_strategy_is_refused():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    assert make(strategy.scope).fit(tiny.raw(), verbose=0)
    strategy = tf.distribute.experimental.CentralStorageStrategy(
        ["CPU:0", "CPU:1"]
    )
    with pytest.raises(ValueError, match="a `VideoVLM` runs on several"):
        make(strategy.scope).fit(tiny.raw(), verbose=0)


def test_a_mean_that_devices_do_not_share_is_refused():
    model = make(mirrored)
    with model.distribute_strategy.scope():
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        )
    with pytest.raises(ValueError, match="mean_with_sample_weight"):
        model.fit(tiny.raw(), verbose=0)
