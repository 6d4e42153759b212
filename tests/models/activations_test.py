"""Activations give what transformers' of the same name do."""

import keras
import numpy as np
import pytest
import torch

from keras_stts.language.decoder_block import DecoderBlock
from keras_stts.layers.activations import ACTIVATIONS
from keras_stts.layers.activations import get_activation
from keras_stts.models import sizes
from keras_stts.towers.connector import Connector
from keras_stts.towers.vision_block import VisionBlock
from tests.tiny import tiny_model

WITH_WEIGHTS = {"prelu", "xielu"}


def test_known_are_all_that_have_no_weights():
    activations = pytest.importorskip("transformers.activations")
    assert set(ACTIVATIONS) == set(activations.ACT2CLS) - WITH_WEIGHTS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name):
    activations = pytest.importorskip("transformers.activations")
    x = np.linspace(-12, 12, 481).astype("float32")
    wanted = activations.ACT2FN[name](torch.from_numpy(x)).numpy()
    given = get_activation(name)(keras.ops.convert_to_tensor(x))
    given = keras.ops.convert_to_numpy(given)
    np.testing.assert_allclose(given, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["prelu", "gelu_newer", None, 3])
def test_others_are_refused(name):
    rule = r"`activation` must be one of gelu, .*Received: activation="
    for make in (
        lambda: VisionBlock(2, 4, 8, name),
        lambda: DecoderBlock(2, 1, 4, 8, activation=name),
        lambda: Connector(2, 4, 8, 8, 8, activation=name),
    ):
        with pytest.raises(ValueError, match=rule):
            make()


@pytest.mark.parametrize(
    "argument", ["activation", "vision_activation", "connector_activation"]
)
def test_each_is_an_argument_of_the_model(argument):
    with pytest.raises(ValueError, match="`activation` must be .*'foo'"):
        tiny_model(**{argument: "foo"})
    model = tiny_model(**{argument: "relu2"})
    assert sizes.of_backbone(model.backbone)[argument] == "relu2"
    layers = model.backbone._flatten_layers(include_self=False)
    found = [getattr(layer, "activation", None) for layer in layers]
    assert "relu2" in found
