"""Files of version 0.1, with what its models said of the same inputs."""

import pathlib

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.presets import migration
from tests.models import tiny

OLD = pathlib.Path(__file__).parent / "golden" / "presets_0_1"
INPUTS = dict(np.load(OLD / "inputs.npz"))
WANTED = dict(np.load(OLD / "logits.npz"))


def answer(model):
    return model.predict(INPUTS, verbose=0)


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "int8",
        pytest.param("connector", marks=pytest.mark.once),
        pytest.param("sharded", marks=pytest.mark.once),
    ],
)
def test_presets(name, tmp_path):
    model = keras_stts.VideoVLM.from_preset(str(OLD / name))
    # Eight bits round at ties that differ between kernels.
    atol = 1e-2 if name == "int8" else 1e-5
    tiny.close(answer(model), WANTED[name], atol)
    if name != "plain":
        return
    model.save_to_preset(tmp_path / "new")
    model = keras_stts.VideoVLM.from_preset(str(tmp_path / "new"))
    tiny.close(answer(model), WANTED[name], 1e-5)


@pytest.mark.parametrize("cls", ["VideoVLMBackbone", "VideoVLM"])
@pytest.mark.once
def test_weights_alone(cls):
    """A `.weights.h5` beside a model made from the same arguments."""
    model = tiny.model()
    if cls == "VideoVLMBackbone":
        model.backbone.load_weights(OLD / "plain" / "model.weights.h5")
        model.load_task_weights(OLD / "plain" / "task.weights.h5")
    else:
        model.load_weights(OLD / "whole.weights.h5")
    tiny.close(answer(model), WANTED["plain"], 1e-5)


@pytest.mark.once
def test_weights_that_do_not_fit():
    """Said, or left as they are, as with files of today."""
    model = tiny.model(vocabulary_size=321)
    path = OLD / "plain" / "model.weights.h5"
    with pytest.raises(ValueError, match="1 objects could not be loaded"):
        model.backbone.load_weights(path)
    with pytest.warns(UserWarning, match="1 objects could not be loaded"):
        model.backbone.load_weights(path, skip_mismatch=True)
    scale = model.backbone.language_model.layer_norm.scale
    wanted = keras_stts.VideoVLM.from_preset(str(OLD / "plain")).backbone
    tiny.same(scale, wanted.language_model.layer_norm.scale)


@pytest.mark.once
def test_files_of_elsewhere_are_left_to_keras():
    for path in ("gs://bucket/a.weights.h5", "a.keras"):
        assert not migration.load_weights(None, path)


@pytest.mark.once
def test_lora():
    model = keras_stts.VideoVLM.from_preset(str(OLD / "plain"))
    model.load_lora_weights(OLD / "tuned.lora.h5")
    tiny.close(answer(model), WANTED["lora"], 1e-5)
    names = {v.path for v in model.trainable_variables if "lora" in v.path}
    assert any(name.startswith("language_model/") for name in names)


def test_backbone_of_a_quantized_preset():
    folder = str(OLD / "int8")
    backbone = keras_stts.VideoVLMBackbone.from_preset(folder)
    query = backbone.transformer_layers[0].query
    assert query.quantization_mode == "int8"
    dtypes = {v.dtype for v in query.variables if "kernel" in v.path}
    assert "int8" in {keras.backend.standardize_dtype(d) for d in dtypes}
