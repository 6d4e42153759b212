"""The files of a whole Qwen3-VL checkpoint, as transformers writes them."""

import json
import shutil

import keras_hub
import numpy as np
import pytest
import tokenizers

from keras_stts.formats.qwen3_vl.files import Files
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter
from keras_stts.preprocessing.qwen3_vl.preprocessor import Qwen3VLPreprocessor
from keras_stts.preprocessing.qwen3_vl.prompt_tokenizer import CHAT_TEMPLATE
from keras_stts.preprocessing.qwen3_vl.tokenizer import Qwen3VLTokenizer
from keras_stts.preprocessing.video_vlm_tokenizer import QWEN3_SPLIT
from tests.models import hugging_face
from tests.models.convert_qwen3_vl_test import PUBLISHED
from tests.models.convert_qwen3_vl_test import changed
from tests.preprocessing import qwen3_vl_cases as cases

pytestmark = pytest.mark.once
GENERATION = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [267, 261],
    "top_p": 0.8,
    "top_k": 20,
    "temperature": 0.7,
    "repetition_penalty": 1.0,
    "transformers_version": "4.56.0",
}
TEXTS = ("What's 12 in 0.5 sec?", "Grüße, 你好\n\n  now", "<|im_end|> a")


def inner_tokenizer():
    """Qwen's splitting, with the few merges of the golden tokenizer."""
    path = cases.GOLDEN / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    split = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(QWEN3_SPLIT), "isolated"
    )
    level = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level])
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Tuple (folder, transformers' processor that wrote it)."""
    assert hugging_face
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("qwen") / "whole"
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner_tokenizer(),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    limits = ("shortest_edge", "longest_edge")
    processor = transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            size=dict(zip(limits, cases.IMAGE_LIMITS)),
            patch_size=16,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ),
        tokenizer=wrapped,
        video_processor=transformers.Qwen3VLVideoProcessor(
            size=dict(zip(limits, cases.VIDEO_LIMITS)),
            cap_pixels_per_frame=False,
        ),
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)
    ids = {
        "image_token_id": wrapped.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": wrapped.convert_tokens_to_ids("<|video_pad|>"),
    }
    for kind in ("start", "end"):
        token = wrapped.convert_tokens_to_ids(f"<|vision_{kind}|>")
        ids[f"vision_{kind}_token_id"] = token
    config = json.dumps({**PUBLISHED, **ids})
    (folder / "config.json").write_text(config)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    return folder, processor


def test_same_ids(saved):
    folder, processor = saved
    tokenizer = Qwen3VLTokenizer(**Files(str(folder)).tokenizer)
    for text in TEXTS:
        ids = processor.tokenizer(text)["input_ids"]
        assert tokenizer.tokenize(text).tolist() == list(ids)
    assert tokenizer.end_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"


def test_same_conversation(saved):
    folder, processor = saved
    files = Files(str(folder))
    preprocessor = Qwen3VLPreprocessor(
        Qwen3VLTokenizer(**files.tokenizer),
        Qwen3VLVideoConverter(**files.converter),
        buckets=[(8, 16)],
        time_tokens=16,
        num_images=1,
        num_image_blocks=12,
        **files.preprocessor,
    )
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        {
            "role": "user",
            "content": [
                {"type": "image"},
                {"type": "text", "text": " or in 2 sec "},
                {"type": "video"},
                {"type": "text", "text": "?"},
            ],
        },
    ]
    image, video = cases.picture(100, 75), cases.clip(30, 60, 90)
    made = preprocessor(
        {"prompts": messages, "images": image, "videos": video, "fps": 10.0}
    )
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    wanted = processor(
        text=[text],
        images=[image],
        videos=[video],
        video_metadata=[{"total_num_frames": 30, "fps": 10.0}],
    )
    ids = made["vision_token_ids"][made["vision_mask"]].tolist()
    ids += made["token_ids"][made["padding_mask"]].tolist()
    assert ids == list(wanted["input_ids"][0])
    rows, columns = made["image_grids"][0] * 2
    assert [1, rows, columns] == wanted["image_grid_thw"][0].tolist()
    pixels = made["images"][0, : rows * columns] / np.float32(127.5) - 1
    np.testing.assert_allclose(
        pixels, np.asarray(wanted["pixel_values"]), atol=1e-6
    )
    assert preprocessor.stop_token_ids == [267, 261]


def test_generation(saved):
    sampler = Files(str(saved[0])).task["sampler"]
    assert isinstance(sampler, keras_hub.samplers.TopPSampler)
    assert (sampler.p, sampler.k, sampler.temperature) == (0.8, 20, 0.7)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("image_token_id", 7, "agree on the id of <.image_pad.>.*7 in config"),
        ("vision_start_token_id", 7, "agree on the id of <.vision_start.>"),
        ("text_config.vocab_size", 266, "must be rows of the embedding"),
    ],
)
def test_refused(saved, tmp_path, path, value, match):
    shutil.copytree(saved[0], tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    config = changed(json.loads(file.read_text()), path, value)
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=match):
        Files(str(tmp_path / "other")).tokenizer
