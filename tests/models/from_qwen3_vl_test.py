"""`from_preset` of a Qwen3-VL checkpoint that transformers saved."""

import json
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.data import __main__ as command
from tests.harness import to_numpy
from tests.models.files_qwen3_vl_test import saved  # noqa: F401
from tests.models.tiny import run

pytestmark = pytest.mark.once
VISION = {
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 64,
    "depth": 4,
    "out_hidden_size": 48,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [1, 2],
}
TEXT = {
    "vocab_size": 280,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
}
BUCKETS = [(8, 16)]
QUESTION = "which way?"


def checkpoint(folder, *, tied, dtype="float32", **kwargs):
    """Write a tiny random model beside a processor's files."""
    import torch
    import transformers

    files = json.loads((folder / "config.json").read_text())
    rope = {"rope_type": "default", "rope_theta": 5e6}
    rope |= {"mrope_section": [2, 2, 2], "mrope_interleaved": True}
    config = transformers.Qwen3VLConfig(
        vision_config=VISION,
        text_config={**TEXT, "rope_parameters": rope},
        tie_word_embeddings=tied,
        **{name: files[name] for name in files if name.endswith("_token_id")},
    )
    model = transformers.Qwen3VLForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator) * 0.15
            weight.copy_(noise + ("norm" in name and name.endswith("weight")))
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, **kwargs)
    generation = json.dumps({"eos_token_id": 1, "do_sample": False})
    (folder / "generation_config.json").write_text(generation)
    return model


def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 64, 96, 3), dtype="uint8")


@pytest.fixture(params=["tied", "sharded"])
def loaded(request, saved, tmp_path):  # noqa: F811
    """Tuple (folder, processor, transformers' model, ours)."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(saved[0], folder)
    sharded = request.param == "sharded"
    kwargs = {"max_shard_size": "100KB"} if sharded else {}
    model = checkpoint(folder, tied=not sharded, **kwargs)
    assert (folder / "model.safetensors").exists() != sharded
    ours = keras_stts.VideoVLM.from_preset(
        str(folder), pruning=None, buckets=BUCKETS, dtype="float32"
    )
    return folder, saved[1], model, ours


def test_greedy_answers_are_transformers(loaded):
    import torch

    _, processor, model, ours = loaded
    video = frames()
    content = [{"type": "video"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    rate = {"fps": 2.0, "total_num_frames": len(video)}
    rate["frames_indices"] = list(range(len(video)))
    inputs = processor(
        text=[text],
        videos=[torch.tensor(video).permute(0, 3, 1, 2)],
        video_metadata=[rate],
        do_sample_frames=False,
        return_tensors="pt",
    )
    x = ours.preprocessor.generate_preprocess(
        {"videos": [video], "prompts": [QUESTION], "fps": 2.0}
    )
    mask = x["vision_mask"][0]
    ids = [*x["vision_token_ids"][0][mask]]
    ids += [*x["token_ids"][0][x["padding_mask"][0]]]
    assert ids == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        wanted = model(**inputs).logits[0, mask.sum() :]
    found = to_numpy(run(ours, ours, x))[0][: len(wanted)]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    with torch.no_grad():
        answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    answer = answer[0, len(ids) :].tolist()
    x = {name: keras.ops.convert_to_tensor(x[name]) for name in x}
    tokens = to_numpy(ours.generate_step(x, stop_token_ids=None)["token_ids"])
    start = len(ids) - int(mask.sum())
    assert tokens[0, start : start + 8].tolist() == answer


def test_pruned_and_trained(loaded):
    folder, *_ = loaded
    with pytest.warns(UserWarning, match="no token scorer"):
        model = keras_stts.VideoVLM.from_preset(
            str(folder),
            pruning=keras_stts.pruning.STTS(0.5, layer=0),
            num_images=1,
            num_image_blocks=16,
            buckets=BUCKETS,
        )
    x = {"videos": [frames()], "prompts": [QUESTION], "fps": 2.0}
    history = model.fit(
        {**x, "responses": ["left"]}, batch_size=1, epochs=2, verbose=0
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert isinstance(model.generate(x)[0], str)


def test_fewer_frames(loaded):
    folder, *_ = loaded
    model = keras_stts.VideoVLM.from_preset(
        str(folder), pruning=None, num_frames=16, load_weights=False
    )
    assert model.backbone.num_frames == 8
    assert model.preprocessor.video_converter.num_frames == 16
    assert max(model.preprocessor.buckets)[0] == 8


@pytest.mark.parametrize("cap", [None, 768, 16])
def test_default_buckets_hold_every_video(saved, cap):  # noqa: F811
    from keras_stts.formats.qwen3_vl.buckets import default_buckets
    from keras_stts.formats.qwen3_vl.files import Files
    from keras_stts.preprocessing.buckets import find_bucket
    from keras_stts.preprocessing.qwen3_vl.sizes import video_size

    # The published limits, and tiny ones.
    published = {"min_pixels": 4096, "max_pixels": 25165824, "num_frames": 768}
    for changes in (published, {}):
        converter = Files(str(saved[0])).converter | changes
        converter["max_frame_blocks"] = cap
        buckets = default_buckets(converter)
        limits = {n: converter[n] for n in ("min_pixels", "max_pixels")}
        sizes = [(480, 640), (2000, 500), (64, 64), (1080, 1920), (160, 128)]
        sizes += [(2160, 3840), (1440, 1440), (1000, 1777), (200, 3000)]
        numbers = (*range(2, 70), 97, 100, 193, 385, 767, 768)
        for number in numbers:
            if number > converter["num_frames"]:
                break
            for size in sizes:
                height, width = video_size(
                    number, *size, **limits, max_frame_blocks=cap
                )
                blocks = height * width // 32**2
                find_bucket((-(-number // 2), blocks), buckets)


@pytest.fixture
def small(saved, tmp_path, monkeypatch):  # noqa: F811
    """A tiny checkpoint, in a folder with a table of clips of three sizes."""
    iio = pytest.importorskip("imageio.v3")
    folder = tmp_path / "checkpoint"
    shutil.copytree(saved[0], folder)
    checkpoint(folder, tied=True)
    monkeypatch.chdir(tmp_path)
    rng, rows = np.random.default_rng(0), []
    sizes = [(4, 64, 64), (6, 64, 128), (12, 96, 64)]
    for i, size in enumerate(sizes * 2):
        clip = rng.integers(0, 256, (*size, 3), dtype="uint8")
        iio.imwrite(f"{i}.mp4", clip, fps=2, macro_block_size=16)
        row = {"video": f"{i}.mp4", "prompt": QUESTION, "response": "left"}
        rows.append(json.dumps(row))
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    return folder


def test_data_set_of_the_docs(small):
    text = pathlib.Path(__file__).parents[2] / "docs/data.md"
    found = re.findall(r"^```python\n(.*?)^```", text.read_text(), re.S | re.M)
    (block,) = [each for each in found if "choose_buckets" in each]
    block = block.replace('"qwen3_vl_2b"', f"{str(small)!r}")
    space = {}
    exec(compile(block, str(text), "exec"), space)
    model, shapes = space["model"], space["shapes"]
    assert isinstance(model.backbone.pruning, keras_stts.pruning.EVS)
    assert shapes == 2 * [(2, 4), (3, 3), (6, 2)]
    assert sorted(model.preprocessor.buckets) == [[2, 4], [3, 3], [6, 2]]
    assert int(model.optimizer.iterations) == 3


def test_rows_of_short_samples(small):
    model = keras_stts.VideoVLM.from_preset(
        str(small), pruning=None, buckets=[(8, 8)], num_segments=3
    )
    x = {"videos": [["0.mp4", "1.mp4"]], "prompts": [[QUESTION] * 2]}
    made = model.preprocessor(x)
    assert made["frame_segments"].tolist() == [[0] * 2 + [1] * 6]
    assert model.predict(x, verbose=0).shape[0] == 1


def test_shards_of_frames(small, capsys):
    start = ["shard", "train.jsonl", "frames", "--format", "tfrecord"]
    start += ["--preset", str(small)]
    assert command.main([*start, "--image-size", "28"]) == 2
    assert "has rules of its own. Received: image_size" in (
        capsys.readouterr().err
    )
    assert command.main(start) == 0
    source = keras_stts.data.ShardSource("frames/rows.jsonl")
    assert source[1]["video"].frames.shape == (6, 32, 96, 3)
    preprocessor = keras_stts.Qwen3VLPreprocessor.from_preset(
        str(small), buckets=BUCKETS
    )
    given = [
        {"videos": [v], "prompts": ["a"]} for v in ("1.mp4", source[1]["video"])
    ]
    one, other = map(preprocessor, given)
    np.testing.assert_array_equal(one["videos"], other["videos"])


@pytest.mark.parametrize(
    "name", ["buckets", "image_min_pixels", "vision_num_blocks"]
)
def test_arguments_of_another_family_are_refused(name):
    with pytest.raises(TypeError, match=f"nothing .* takes.*: {name}"):
        keras_stts.VideoVLM.from_preset("shapes_tiny", **{name: 3})
