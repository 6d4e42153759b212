"""Qwen3-VL written for transformers, and read by both."""

import json
import shutil

import keras_hub
import numpy as np
import pytest

import keras_stts
from keras_stts import VideoVLM
from tests.harness import to_numpy
from tests.models import export_test
from tests.models import from_qwen3_vl_test as cases
from tests.models import qwen3_vl
from tests.models.files_qwen3_vl_test import saved  # noqa: F401
from tests.models.tiny import run
from tests.preprocessing import qwen3_vl_cases as media

pytestmark = pytest.mark.once
# Fields that have no effect here, so that they are not kept.
UNUSED = {"pad_token_id", "bos_token_id", "eos_token_id"}
UNUSED |= {"max_position_embeddings", "transformers_version", "_name_or_path"}
UNUSED |= {"keras_stts", "dtype"}
FASTV = keras_stts.pruning.FastV(layer=1)


@pytest.fixture(params=["tied", "own head"])
def checkpoint(request, saved, tmp_path):  # noqa: F811
    """Tuple (folder, processor, transformers' model)."""
    folder = tmp_path / "theirs"
    shutil.copytree(saved[0], folder)
    model = cases.checkpoint(folder, tied=request.param == "tied")
    return folder, saved[1], model


def load(folder, **arguments):
    arguments = {"pruning": None, "buckets": cases.BUCKETS, **arguments}
    return VideoVLM.from_preset(str(folder), **arguments)


def test_transformers_loads_it(checkpoint, tmp_path):
    import torch
    import transformers

    folder, processor, theirs = checkpoint
    ours = load(folder)
    ours.export_to_transformers(tmp_path / "ours", max_shard_size=100_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    cls = transformers.Qwen3VLForConditionalGeneration
    loaded, report = cls.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    for problem in report.values():
        assert not problem
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)
    again = transformers.AutoProcessor.from_pretrained(tmp_path / "ours")
    assert type(again) is type(processor)
    messages = [{"role": "user", "content": conversation()}]
    inputs, wanted = (inputs_of(each, messages) for each in (again, processor))
    assert set(inputs) == set(wanted)
    for name in inputs:
        torch.testing.assert_close(inputs[name], wanted[name])
    with torch.no_grad():
        answers = [
            model.eval().generate(**inputs, max_new_tokens=8, do_sample=False)
            for model in (loaded, theirs)
        ]
        logits = loaded(**inputs).logits[0]
    assert answers[0].tolist() == answers[1].tolist()
    x = {"videos": [media.clip(30, 60, 90)], "prompts": [messages]}
    x |= {"images": [media.picture(100, 75)], "fps": 10.0}
    ours = load(
        tmp_path / "ours", num_images=1, num_image_blocks=12, time_tokens=16
    )
    x = ours.preprocessor.generate_preprocess(x)
    found = to_numpy(run(ours, ours, x))[0]
    mask = x["padding_mask"][0]
    np.testing.assert_allclose(
        found[mask], logits[x["vision_mask"][0].sum() :], atol=1e-4
    )
    tokens = to_numpy(ours.generate_step(x, stop_token_ids=None)["token_ids"])
    start = mask.sum()
    answer = answers[0][0, len(logits) :].tolist()
    assert tokens[0, start : start + 8].tolist() == answer


def conversation():
    return [
        {"type": "image"},
        {"type": "text", "text": "Grüße, 你好 "},
        {"type": "video"},
        {"type": "text", "text": cases.QUESTION},
    ]


def inputs_of(processor, messages):
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return processor(
        text=[text],
        images=[media.picture(100, 75)],
        videos=[media.clip(30, 60, 90)],
        video_metadata=[{"total_num_frames": 30, "fps": 10.0}],
        return_tensors="pt",
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_files_again(dtype, checkpoint, tmp_path):
    folder, *_ = checkpoint
    ours = VideoVLM.from_preset(str(folder), pruning=None, dtype=dtype)
    ours.export_to_transformers(tmp_path / "one")
    again = VideoVLM.from_preset(str(tmp_path / "one"), dtype=dtype)
    again.export_to_transformers(tmp_path / "two")
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {path.name for path in (tmp_path / "two").iterdir()}
    assert "video_preprocessor_config.json" in names
    for name in names:
        one, two = (tmp_path / each / name for each in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
    assert config_of(tmp_path / "one")["dtype"] == dtype


def test_same_config(checkpoint, tmp_path):
    import transformers

    folder, *_ = checkpoint
    load(folder).export_to_transformers(tmp_path / "ours")
    wanted, found = (
        transformers.AutoConfig.from_pretrained(each).to_dict()
        for each in (folder, tmp_path / "ours")
    )
    # Published files say it twice, transformers 5 once.
    tied = found["text_config"].pop("tie_word_embeddings")
    assert tied == found["tie_word_embeddings"]
    assert without_unused(found) == without_unused(wanted)
    wanted, found = (
        transformers.GenerationConfig.from_pretrained(each).to_dict()
        for each in (folder, tmp_path / "ours")
    )
    assert found["eos_token_id"] == wanted["eos_token_id"]
    assert without_unused(found) == without_unused(wanted)


def without_unused(config):
    return {
        name: without_unused(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in UNUSED
    }


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def tensors_of(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_a_head_that_was_trained_is_its_own(checkpoint, tmp_path):
    folder, *_ = checkpoint
    ours = load(folder, tie_embeddings=False)
    head = to_numpy(ours.lm_head.kernel).copy()
    head[3, 5] += 1
    ours.lm_head.kernel.assign(head)
    ours.export_to_transformers(tmp_path / "ours")
    assert config_of(tmp_path / "ours")["tie_word_embeddings"] is False
    found = tensors_of(tmp_path / "ours")["lm_head.weight"]
    np.testing.assert_array_equal(found, head.T)
    again = load(tmp_path / "ours")
    np.testing.assert_array_equal(to_numpy(again.lm_head.kernel), head)


@pytest.mark.filterwarnings("ignore:.*holds no token scorer")
def test_every_setting_comes_back(checkpoint, tmp_path):
    """None of them at its default."""
    ours = load(
        checkpoint[0],
        pruning=[keras_stts.pruning.STTS(0.25, layer=0), FASTV],
        positions="original",
        num_images=2,
        num_image_blocks=9,
        num_videos=2,
        rematerialize=True,
        sequence_length=77,
        time_tokens=9,
        word_tokens=70,
        max_fps=3.0,
        num_frames=15,
        min_pixels=4097,
        max_pixels=50_000,
        image_min_pixels=2048,
        image_max_pixels=9_000,
        max_frame_blocks=16,
        stop_token_ids=[1, 3],
        sampler=keras_hub.samplers.TopPSampler(p=0.75, k=7, temperature=0.5),
        max_new_tokens=3,
        aux_coefficient=0.25,
        stop_gradient_target=True,
        trainable_parts=["scorer"],
    )
    again = export_test.there_and_back(ours, tmp_path / "ours")
    assert again.backbone.rematerialize and again.default_sampler.p == 0.75
    for one, other in zip(ours.weights, again.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))
    assert any("token_scorer" in name for name in tensors_of(tmp_path / "ours"))
    # Where another method prunes, the scorer is left in the file.
    assert not load(tmp_path / "ours").backbone.pruning.weights


@pytest.mark.parametrize(
    "options",
    [
        {"pruning": "evs", "prune_ratio": 0.5, "sampler": "beam"},
        {"buckets": [[2, 4], [4, 9]], "sampler": "top_k"},
        {"num_segments": 3},
        {"num_frames": 0, "num_images": 1, "num_image_blocks": 12},
        {"preprocessor": None, "num_frames": 5, "vision_num_blocks": 7},
        {"preprocessor": None, "num_images": 2, "vision_num_image_blocks": 5},
    ],
)
def test_other_settings_come_back(options, checkpoint, tmp_path):
    if "preprocessor" in options:
        ours = VideoVLM.from_preset(
            str(checkpoint[0]), **{"pruning": None, **options}
        )
    else:
        ours = load(checkpoint[0], **options)
    export_test.there_and_back(ours, tmp_path / "ours")


def test_fewer_frames_of_an_exported_one(checkpoint, tmp_path):
    """Room that follows from the processor's files is not fixed."""
    ours = VideoVLM.from_preset(str(checkpoint[0]), pruning=None)
    ours.export_to_transformers(tmp_path / "ours")
    again = VideoVLM.from_preset(str(tmp_path / "ours"), num_frames=16)
    assert again.backbone.num_frames == 8


def test_lora_is_merged_and_quantized_weights_are_refused(checkpoint, tmp_path):
    ours = load(checkpoint[0], tie_embeddings=False)
    ours.enable_lora(2, ["query", "token_embedding", "lm_head"])
    for layer in (
        ours.backbone.vision_encoder.blocks[0].query,
        ours.backbone.transformer_layers[0].query,
        ours.lm_head,
    ):
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    ours.export_to_transformers(tmp_path / "a")
    again = load(tmp_path / "a")
    for part in (
        lambda m: m.backbone.vision_encoder.blocks[0].query,
        lambda m: m.backbone.transformer_layers[0].query,
        lambda m: m.lm_head,
    ):
        np.testing.assert_array_equal(
            to_numpy(part(again).kernel), to_numpy(part(ours).kernel)
        )
    ours = load(checkpoint[0])
    ours.quantize("int8")
    with pytest.raises(ValueError, match="quantized to int8. Export the model"):
        ours.export_to_transformers(tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("vision_encoder", "pixel_mean", 0.4),
        ("connector", "layer_norm_epsilon", 1e-5),
        ("language_model", "norm_after", True),
        ("language_model", "rope_sections", None),
    ],
)
def test_what_qwen_lacks_is_refused(part, name, value, tmp_path):
    model = qwen3_vl.model()
    config = model.backbone.get_config()
    config[part]["config"][name] = value
    backbone = keras_stts.VideoVLMBackbone.from_config(config)
    with pytest.raises(ValueError, match=f"has .*{name}.*save_to_preset"):
        VideoVLM(backbone).export_to_transformers(tmp_path / "a")


def test_unknown_settings_are_refused(checkpoint, tmp_path):
    folder, *_ = checkpoint
    config = {**config_of(folder), "keras_stts": {"backbone": {"colour": 1}}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="Received: `backbone.colour`, 1"):
        load(folder)


def test_saving_over_an_exported_one(checkpoint, tmp_path):
    ours = load(checkpoint[0])
    ours.export_to_transformers(tmp_path / "a")
    ours.save_to_preset(tmp_path / "a")
    assert not (tmp_path / "a" / "model.safetensors").exists()
    assert not (tmp_path / "a" / "video_preprocessor_config.json").exists()
    again = VideoVLM.from_preset(str(tmp_path / "a"))
    for one, other in zip(ours.weights, again.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))
