"""Models written for transformers, and read by both."""

import json
import shutil

import keras
import numpy as np
import pytest
import torch

from keras_stts import VideoVLM
from tests.models import tiny
from tests.models import transformers_test as reference
from tests.models.hugging_face import molmo2


@pytest.mark.parametrize("name", ["qwen3", "olmo3", "bias, linear scaling"])
def test_transformers_loads_it(name, tmp_path):
    theirs = reference.reference(reference.ARCHITECTURES[name])
    theirs.save_pretrained(tmp_path / "theirs")
    ours = VideoVLM.from_preset(
        str(tmp_path / "theirs"), prune_ratio=0, num_frames=reference.FRAMES
    )
    ours.export_to_transformers(tmp_path / "ours", max_shard_size=20_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    loaded, report = molmo2.Molmo2ForConditionalGeneration.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["mismatched_keys"]
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value)
    x = reference.video_inputs()
    reference.check_logits(loaded.eval(), reference.their_video(x), ours, x)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_there_and_back(dtype, tmp_path):
    """Weights, scorer, settings and texts are the same again."""
    model = VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5, dtype=dtype)
    folder = str(tmp_path / "exported")
    model.export_to_transformers(folder)
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["dtype"] == dtype
    assert config["stts_config"]["prune_ratio"] == 0.5
    again = VideoVLM.from_preset(
        folder,
        dtype=dtype,
        sequence_length=model.preprocessor.sequence_length,
        time_tokens=model.preprocessor.time_tokens,
    )
    assert len(model.weights) == len(again.weights)
    for one, other in zip(model.weights, again.weights):
        tiny.same(
            keras.ops.cast(one, "float32"), keras.ops.cast(other, "float32")
        )
    ours, theirs = model.backbone.get_config(), again.backbone.get_config()
    for name in ours:
        if name not in ("name", "positions"):
            assert np.all(ours[name] == theirs[name]), name
    x = {
        "videos": [np.zeros((8, 48, 48, 3), "uint8")],
        "prompts": ["what shape is the red object?"],
        "fps": 1.0,
    }
    one, other = (m.preprocessor.generate_preprocess(x) for m in (model, again))
    for name in one:
        tiny.same(one[name], other[name])


def test_a_loaded_model_needs_no_files(tmp_path, monkeypatch):
    processor = tiny.preprocessor(patch_size=4)
    model = tiny.model(sharp=True, processor=processor, num_layers=1)
    folder = tmp_path / "exported"
    model.export_to_transformers(folder)
    with monkeypatch.context() as patch:
        # Weights that a file holds are not drawn.
        for name in ("RandomNormal", "RandomUniform", "VarianceScaling"):
            cls = getattr(keras.initializers, name)
            patch.setattr(cls, "__call__", lambda *args, **kwargs: 1 / 0)
        loaded = VideoVLM.from_preset(
            folder, sequence_length=tiny.LENGTH, time_tokens=6
        )
    for path in folder.glob("*.safetensors"):
        path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree(folder)
    same_weights(model, loaded)
    tiny.compile_to_train(loaded)
    losses = loaded.fit(tiny.raw(), batch_size=3, epochs=3, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < losses[0]
    loaded.save_to_preset(tmp_path / "saved")
    same_weights(loaded, VideoVLM.from_preset(tmp_path / "saved"))


def same_weights(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        tiny.same(a, b)


def test_a_model_without_molmo2s_tokens(tmp_path):
    from tests.tiny import tiny_model

    with pytest.raises(ValueError, match="vision tokens image_patch, .* 3 of"):
        tiny_model().export_to_transformers(tmp_path)


def test_preprocessor_that_was_never_told_the_patch_size(tmp_path):
    """Without images it does not need it; the exported one does."""
    model = tiny.model()
    assert model.preprocessor.patch_size != model.backbone.patch_size
    model.export_to_transformers(tmp_path)
    config = json.loads((tmp_path / "processor_config.json").read_text())
    video = config["video_processor"]
    assert video["patch_size"] == model.backbone.patch_size
    assert video["pooling_size"] == [model.backbone.window] * 2
    again = VideoVLM.from_preset(str(tmp_path))
    assert again.preprocessor.num_blocks == model.preprocessor.num_blocks
