"""Random models made with transformers: ours puts out the same."""

import keras
import numpy as np
import pytest

from keras_stts import VideoVLM
from tests.models import tiny

torch = pytest.importorskip("torch")
molmo2 = pytest.importorskip("transformers.models.molmo2")

FRAMES, SIDE, PATCH, BLOCKS = 3, 84, 14, 4  # 6x6 patches, windows of 3x3.
VOCABULARY, EXTRA = 96, 16
PATCH_ID, FRAME_START, FRAME_END = 98, 103, 104
TEXT, NEW = 9, 6

YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "attention_factor": 1.3,
}
ARCHITECTURES = {
    "qwen3": {},
    "olmo3": {
        "qk_norm_type": "olmo",
        "norm_after": True,
        "rope_parameters": YARN,
        "rope_scaling_layers": [0, 2],
    },
    "yarn of its own factor": {
        "rope_parameters": {**YARN, "attention_factor": None}
    },
    "bias, linear scaling": {
        "attention_bias": True,
        "rope_parameters": {
            "rope_type": "linear",
            "rope_theta": 5000.0,
            "factor": 3.0,
        },
    },
}


def config_of(text):
    attention = {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_hidden_layers": 3,
        "vocab_size": VOCABULARY,
        "additional_vocab_size": EXTRA,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        **text,
    }
    return molmo2.Molmo2Config(
        vision_config={
            **attention,
            "num_hidden_layers": 5,
            "intermediate_size": 24,
            "image_size": [SIDE, SIDE],
            "patch_size": PATCH,
        },
        adapter_config={
            **attention,
            "vision_feature_layer": [4, 3],
            "intermediate_size": 24,
            "text_hidden_size": 32,
        },
        text_config=text,
        image_start_token_id=96,
        image_end_token_id=97,
        image_patch_id=PATCH_ID,
        low_res_image_start_token_id=100,
        frame_start_token_id=FRAME_START,
        frame_end_token_id=FRAME_END,
    )


def reference(text):
    """A random model that tells tokens apart."""
    torch.manual_seed(0)
    model = molmo2.Molmo2ForConditionalGeneration(config_of(text)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 0.2 if weight.ndim > 1 else 0.1
            weight.copy_(torch.randn_like(weight) * scale)
            if "norm" in name and name.endswith("weight"):
                weight += 1
    return model


@pytest.fixture(params=ARCHITECTURES, scope="module")
def pair(request, tmp_path_factory):
    """transformers' model and ours, of the directory it saved."""
    theirs = reference(ARCHITECTURES[request.param])
    folder = str(tmp_path_factory.mktemp("checkpoint"))
    theirs.save_pretrained(folder)
    ours = VideoVLM.from_preset(folder, prune_ratio=0, num_frames=FRAMES)
    return theirs, ours


def inputs():
    """A video and a text, for ours."""
    rng = np.random.default_rng(0)
    frame = [7, FRAME_START] + [PATCH_ID] * BLOCKS + [FRAME_END]
    vision = np.array([[1] + frame * FRAMES], "int32")
    text = rng.integers(1, VOCABULARY, (1, TEXT)).astype("int32")
    shape = (1, FRAMES, SIDE, SIDE, 3)
    return {
        "videos": rng.integers(0, 256, shape, "uint8"),
        "frame_mask": np.ones((1, FRAMES), bool),
        "vision_token_ids": vision,
        "vision_mask": np.ones(vision.shape, bool),
        "token_ids": text,
        "padding_mask": np.ones(text.shape, bool),
    }


def their_inputs(x):
    """The same as transformers wants it."""
    side = SIDE // PATCH
    shape = (FRAMES, side, PATCH, side, PATCH, 3)
    patches = x["videos"].reshape(shape).transpose(0, 1, 3, 2, 4, 5)
    pixels = patches.reshape(FRAMES, side**2, -1) / 255.0 * 2 - 1
    places = np.arange(FRAMES * side**2).reshape(FRAMES, side, side)
    places = places.reshape(FRAMES, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4)
    ids = np.concatenate([x["vision_token_ids"], x["token_ids"]], axis=1)
    vision = np.isin(ids, (PATCH_ID, FRAME_START, FRAME_END))
    arrays = {
        "input_ids": ids.astype("int64"),
        "attention_mask": np.ones(ids.shape, "int64"),
        "pixel_values_videos": pixels.astype("float32"),
        "video_token_pooling": places.reshape(-1, 9),
        "video_grids": np.array([[FRAMES, 2, 2]]),
        "mm_token_type_ids": vision.astype("int64"),
    }
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def test_logits(pair):
    theirs, ours = pair
    x = inputs()
    with torch.no_grad():
        wanted = theirs(**their_inputs(x)).logits[:, -TEXT:].numpy()
    assert wanted.std() > 0.1
    tiny.close(tiny.run(ours, ours, x), wanted, atol=1e-4)


def test_greedy_generation(pair):
    theirs, ours = pair
    x = inputs()
    wanted = theirs.generate(
        **their_inputs(x), max_new_tokens=NEW, do_sample=False, eos_token_id=-1
    )[0, -NEW:].numpy()
    assert len(set(wanted.tolist())) > 1
    ours.compile(sampler="greedy")
    room = ((0, 0), (0, NEW))
    x["token_ids"] = np.pad(x["token_ids"], room)
    x["padding_mask"] = np.pad(x["padding_mask"], room)
    answer = ours.generate(x, stop_token_ids=None, strip_prompt=False)
    answer = keras.ops.convert_to_numpy(answer["token_ids"])
    tiny.same(answer[0, -NEW:], wanted)
