"""Models written for transformers, and read by both."""

import json
import shutil

import keras
import keras_hub
import numpy as np
import pytest
import torch
import transformers

import keras_stts
from keras_stts import VideoVLM
from tests.models import published_test
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
    again = there_and_back(model, tmp_path / "exported", dtype=dtype)
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["dtype"] == dtype
    assert config["keras_stts"]["backbone"]["prune_ratio"] == 0.5
    assert len(model.weights) == len(again.weights)
    for one, other in zip(model.weights, again.weights):
        tiny.same(
            keras.ops.cast(one, "float32"), keras.ops.cast(other, "float32")
        )
    x = {
        "videos": [np.zeros((8, 48, 48, 3), "uint8")],
        "prompts": ["what shape is the red object?"],
        "fps": 1.0,
    }
    one, other = (m.preprocessor.generate_preprocess(x) for m in (model, again))
    for name in one:
        tiny.same(one[name], other[name])


def there_and_back(model, folder, **kwargs):
    """A model as it is read again, with every setting that it had."""
    model.export_to_transformers(folder)
    again = VideoVLM.from_preset(str(folder), **kwargs)
    parts = (lambda m: m, lambda m: m.backbone)
    if model.preprocessor is not None:
        stops = again.preprocessor.stop_token_ids
        assert model.preprocessor.stop_token_ids == stops
        parts += (
            lambda m: m.preprocessor,
            lambda m: m.preprocessor.video_converter,
            lambda m: m.preprocessor.tokenizer,
        )
    for part in parts:
        ours, theirs = part(model).get_config(), part(again).get_config()
        assert set(ours) == set(theirs)
        for name in ours:
            if name not in NOT_SAVED:
                assert plain(ours[name]) == plain(theirs[name]), name
    return again


# Objects that are compared by themselves, and what a run is told anew.
NOT_SAVED = ("name", "dtype", "trainable", "config_file", "backbone")
NOT_SAVED += ("preprocessor", "tokenizer", "video_converter", "stop_token_ids")


def plain(value):
    if value in ("greedy", "top_k", "beam"):
        value = keras_hub.samplers.serialize(keras_hub.samplers.get(value))
    value = json.loads(json.dumps(value, default=str))
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if k != "shared_object_id"}
    return value


@pytest.mark.filterwarnings("ignore:.*holds no token scorer")
@pytest.mark.once
def test_every_setting_comes_back(tmp_path):
    """None of them at its default."""
    vlm = VideoVLM.from_preset(
        published_test.CHECKPOINT,
        prune_ratio=0.25,
        prune_layer=2,
        pruning=[keras_stts.pruning.STTS(rescale_min=0.2), "fastv"],
        rescale_axis="frame",
        positions="original",
        num_images=1,
        max_crops=2,
        rematerialize=True,
        sequence_length=77,
        time_tokens=9,
        sampling="uniform_last_frame",
        max_fps=3.0,
        num_frames=5,
        pixel_mean=[0.4, 0.5, 0.6],
        pixel_std=[0.2, 0.3, 0.4],
        video_use_col_tokens=True,
        use_single_crop_col_tokens=False,
        use_single_crop_start_token=False,
        stop_token_ids=[302, 300],
        sampler=keras_hub.samplers.TopPSampler(p=0.75, k=7, temperature=0.5),
        max_new_tokens=3,
        aux_coefficient=0.25,
        stop_gradient_target=True,
        trainable_parts=["scorer"],
    )
    again = there_and_back(vlm, tmp_path / "a")
    assert again.max_new_tokens == 3
    assert again.default_sampler.p == 0.75


@pytest.mark.parametrize(
    "options",
    [
        {"pruning": "evs", "prune_ratio": 0.5, "sampling": "all"},
        {"refill": True, "prune_ratio": 0.3, "sampler": "beam"},
        {"num_segments": 3, "sampler": "top_k"},
        {"preprocessor": None, "pixel_std": 0.25, "num_frames": 7},
    ],
)
@pytest.mark.filterwarnings("ignore:.*holds no token scorer")
@pytest.mark.once
def test_other_settings_come_back(options, tmp_path):
    options = {"prune_ratio": 0.5, **options}
    vlm = VideoVLM.from_preset(published_test.CHECKPOINT, **options)
    there_and_back(vlm, tmp_path / "a")


@pytest.mark.once
def test_transformers_reads_the_processor(tmp_path):
    ours = VideoVLM.from_preset(
        published_test.CHECKPOINT, prune_ratio=0, num_images=1, max_crops=2
    )
    ours.export_to_transformers(tmp_path)
    theirs = molmo2.Molmo2Processor.from_pretrained(tmp_path)
    image = np.zeros((40, 90, 3), "uint8")
    text = [{"type": "text", "text": "What is there, ä?"}]
    message = {"role": "user", "content": [{"type": "image"}, *text]}
    prompt = theirs.apply_chat_template([message], add_generation_prompt=True)
    inputs = theirs(images=[image], text=prompt, return_tensors="pt")
    x = {"images": [image], "prompts": [[message]]}
    x["videos"] = [np.zeros((1, 8, 8, 3), "uint8")]
    with pytest.raises(ValueError, match="1 images and 0 videos in the"):
        ours.preprocessor.generate_preprocess(x)
    ours = VideoVLM.from_preset(tmp_path, num_frames=0, load_weights=False)
    x.pop("videos")
    x = ours.preprocessor.generate_preprocess(x)
    ids = inputs["input_ids"][0].numpy()
    tiny.same(published_test.ids_of(x), ids)
    answer = theirs.decode(ids[-20:], skip_special_tokens=True)
    x = {"token_ids": ids[-20:], "padding_mask": np.ones(20, bool)}
    assert ours.preprocessor.generate_postprocess(x) == answer
    config = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (config.eos_token_id, config.do_sample) == (302, False)


def test_lora_is_merged_and_quantized_weights_are_refused(tmp_path):
    model = tiny.model(num_layers=1)
    model.enable_lora(2, ["query", "token_embedding"])
    layer = model.backbone.transformer_layers[0].query
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    ids = model.backbone.token_embedding
    ids.lora_embeddings_a.assign(np.ones(ids.lora_embeddings_a.shape))
    ids.lora_embeddings_b.assign(np.ones(ids.lora_embeddings_b.shape))
    wanted = keras.ops.convert_to_numpy(layer.kernel)
    assert np.abs(wanted - keras.ops.convert_to_numpy(layer._kernel)).max() > 0
    model.export_to_transformers(tmp_path / "a")
    again = VideoVLM.from_preset(str(tmp_path / "a"))
    tiny.same(again.backbone.transformer_layers[0].query.kernel, wanted)
    tiny.same(again.backbone.token_embedding.embeddings, ids.embeddings)
    model = tiny.model(num_layers=1)
    model.quantize("int8")
    with pytest.raises(ValueError, match="quantized to int8. Export the model"):
        model.export_to_transformers(tmp_path / "b")
    assert not list((tmp_path / "b").glob("*.*"))


@pytest.mark.once
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


@pytest.mark.parametrize("size", ["5GB", 0, None])
@pytest.mark.once
def test_sizes_of_shards(size, tmp_path):
    with pytest.raises(ValueError, match="`max_shard_size` must be a number"):
        tiny.model().export_to_transformers(tmp_path, max_shard_size=size)


@pytest.mark.once
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
