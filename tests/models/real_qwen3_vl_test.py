"""Files of published Qwen3-VL checkpoints, see golden/qwen3_vl/README.md."""

import json
import pathlib
import shutil

import keras_hub
import numpy as np
import pytest
import tokenizers

from keras_stts import VideoVLM
from keras_stts.formats.qwen3_vl import loading
from keras_stts.formats.qwen3_vl.config import model_config
from keras_stts.formats.qwen3_vl.files import Files
from keras_stts.presets.built_in import PRESETS
from tests.models import hugging_face
from tests.models.convert_qwen3_vl_test import CONVERTER
from tests.models.convert_qwen3_vl_test import PUBLISHED
from tests.models.convert_qwen3_vl_test import SIZES
from tests.models.convert_qwen3_vl_test import changed
from tests.preprocessing import qwen3_vl_cases as media

pytestmark = pytest.mark.once
GOLDEN = pathlib.Path(__file__).parent / "golden" / "qwen3_vl"
SAMPLERS = {"instruct": (0.8, 20, 0.7), "thinking": (0.95, 20, 0.8)}
# What differs from 2B. 4B: huggingface.co/TechCarbasa/MyModels/commit/400bbbf9
# (Qwen3-VL-4B-Instruct/config.json).
LARGER = {
    "4b": {
        "text_config.hidden_size": 2560,
        "text_config.intermediate_size": 9728,
        "text_config.num_attention_heads": 32,
        "text_config.num_hidden_layers": 36,
        "vision_config.out_hidden_size": 2560,
    },
    # ollama.com/library/qwen3-vl:8b-instruct-bf16/blobs/9b99cf8ef107,
    # huggingface.co/Steinate/Cortex/blame/main/config.json (a model trained
    # from it, without `tie_word_embeddings` in `text_config`).
    "8b": {
        "text_config.hidden_size": 4096,
        "text_config.intermediate_size": 12288,
        "text_config.num_attention_heads": 32,
        "text_config.num_hidden_layers": 36,
        "text_config.tie_word_embeddings": KeyError,
        "tie_word_embeddings": False,
        "vision_config.deepstack_visual_indexes": [8, 16, 24],
        "vision_config.depth": 27,
        "vision_config.hidden_size": 1152,
        "vision_config.intermediate_size": 4304,
        "vision_config.out_hidden_size": 4096,
    },
}


def config_of(name):
    config = PUBLISHED
    for path, value in LARGER.get(name, {}).items():
        config = changed(config, path, value)
    return config


@pytest.fixture(scope="module", params=SAMPLERS)
def folder(request, tmp_path_factory):
    """The files, with words that stand for those of the vocabulary."""
    folder = tmp_path_factory.mktemp("real") / request.param
    shutil.copytree(GOLDEN / request.param, folder)
    for path in GOLDEN.glob("*.json"):
        shutil.copy(path, folder)
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    added = json.loads((folder / "tokenizer_config.json").read_text())
    first = min(map(int, added["added_tokens_decoder"]))
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    words = [*sorted(letters), "th", *(f"word{i}" for i in range(first))]
    vocabulary = {word: i for i, word in enumerate(words[:first])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    return folder


def test_every_field(folder):
    files = Files(str(folder))
    assert files.model == SIZES
    assert files.converter == CONVERTER
    sampler = files.task["sampler"]
    assert isinstance(sampler, keras_hub.samplers.TopPSampler)
    found = (sampler.p, sampler.k, sampler.temperature)
    assert found == SAMPLERS[folder.name]
    assert files.preprocessor["stop_token_ids"] == [151645, 151643]
    assert files.tokenizer["end_token"] == "<|im_end|>"


def test_config_is_that_of_2b():
    found = json.loads((GOLDEN / "instruct" / "config.json").read_text())
    assert found == PUBLISHED


@pytest.mark.parametrize(
    ("name", "sizes"), [("4b", (2560, 36, 24, True)), ("8b", (4096, 36, 27, 0))]
)
def test_larger_ones(name, sizes):
    found = model_config(config_of(name))
    names = ("hidden_dim", "num_layers", "vision_num_layers", "tie_embeddings")
    assert tuple(found[name] for name in names) == sizes


@pytest.mark.parametrize("name", ["2b", "4b", "8b"])
def test_counts(name, tmp_path):
    """Weights that are not made: 2B's are its file of 4.26 GB."""
    for path in GOLDEN.glob("*preprocessor_config.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config_of(name)))
    memory = VideoVLM.memory_of(
        str(tmp_path), dtype="bfloat16", phase="generate", prune_ratio=0.0
    )
    # What scores blocks is in float32.
    hidden = model_config(config_of(name))["vision_intermediate_dim"]
    params = memory["weights"] / 2 - (hidden + 1)
    assert params == PRESETS[f"qwen3_vl_{name}"]["metadata"]["params"]
    # The largest batch of a video, not of most frames by most blocks.
    assert memory["total"] < 2 * memory["weights"] + 2**34


def test_same_prompts(folder):
    """Ids are those of transformers' processor, from the same files."""
    assert hugging_face
    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    ours = loading.load_preprocessor(
        str(folder), {"num_images": 1, "buckets": [(8, 64)]}
    )
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        {
            "role": "user",
            "content": [
                {"type": "image"},
                {"type": "video"},
                {"type": "text", "text": "What's that, 你好?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
    ]
    image, video = media.picture(300, 200), media.clip(12, 60, 90)
    made = ours.preprocess(
        {"prompts": messages, "images": image, "videos": video, "fps": 4.0}
    )
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert ("<think>" in text) == (folder.name == "thinking")
    wanted = processor(
        text=[text],
        images=[image],
        videos=[video],
        video_metadata=[{"total_num_frames": 12, "fps": 4.0}],
    )
    ids = made["vision_token_ids"][made["vision_mask"]].tolist()
    ids += made["token_ids"][made["padding_mask"]].tolist()
    assert ids == list(wanted["input_ids"][0])
    rows, columns = made["image_grids"][0] * 2
    assert [1, rows, columns] == np.asarray(wanted["image_grid_thw"])[
        0
    ].tolist()
