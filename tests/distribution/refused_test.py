"""Distributions under PyTorch and TensorFlow are refused."""

import types

import keras
import pytest

import keras_stts
from tests.models import tiny

pytestmark = pytest.mark.skipif(
    keras.config.backend() == "jax", reason="JAX takes distributions."
)


def test_a_distribution_that_was_set(monkeypatch):
    model, x = tiny.model(), tiny.raw()
    monkeypatch.setattr(keras.distribution, "distribution", object)
    match = "a distribution under JAX alone.*object, backend="
    for method in (model.fit, model.evaluate, model.predict, model.generate):
        with pytest.raises(ValueError, match=match):
            method(x)


def test_a_distribution_that_is_asked_for():
    with pytest.raises(ValueError, match="under JAX alone.*'fsdp'"):
        keras_stts.VideoVLM.from_preset("shapes_tiny", distribution="fsdp")


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="Of TensorFlow alone."
)
def test_another_strategy_of_tensorflow():
    model = tiny.model()
    model._distribute_strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    match = "`tf.distribute.MirroredStrategy`.*SimpleNamespace"
    with pytest.raises(ValueError, match=match):
        model.fit(tiny.raw())
