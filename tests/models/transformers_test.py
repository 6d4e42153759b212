"""Random models made with transformers: ours puts out the same."""

import keras
import numpy as np
import pytest
import torch

from keras_stts import VideoVLM
from keras_stts.data.image import tile_image
from tests.models import tiny
from tests.models.hugging_face import molmo2

FRAMES, SIDE, PATCH, BLOCKS = 3, 84, 7, 16  # 12x12 patches, windows of 3x3.
CROPS = 2
VOCABULARY, EXTRA = 96, 16
IMAGE_START, IMAGE_END, PATCH_ID, COLUMN, LOW_START = range(96, 101)
FRAME_START, FRAME_END = 103, 104
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


def config_of(text, side=SIDE):
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
            "image_size": [side, side],
            "patch_size": PATCH,
        },
        adapter_config={
            **attention,
            "vision_feature_layer": [4, 3],
            "intermediate_size": 24,
            "text_hidden_size": 32,
        },
        text_config=text,
        image_start_token_id=IMAGE_START,
        image_end_token_id=IMAGE_END,
        image_patch_id=PATCH_ID,
        low_res_image_start_token_id=LOW_START,
        frame_start_token_id=FRAME_START,
        frame_end_token_id=FRAME_END,
    )


def reference(text, side=SIDE):
    """A random model that tells tokens apart."""
    torch.manual_seed(3)
    config = config_of(text, side)
    model = molmo2.Molmo2ForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 0.2 if weight.ndim > 1 else 0.1
            scale = 1.0 if "embed_tokens" in name else scale
            weight.copy_(torch.randn_like(weight) * scale)
            if "norm" in name and name.endswith("weight"):
                weight += 1
    return model


@pytest.fixture(params=ARCHITECTURES, scope="module")
def saved(request, tmp_path_factory):
    """transformers' model, and the directory it saved."""
    model = reference(ARCHITECTURES[request.param])
    folder = str(tmp_path_factory.mktemp("checkpoint"))
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def pair(saved):
    """transformers' model and ours."""
    theirs, folder = saved
    ours = VideoVLM.from_preset(folder, prune_ratio=0, num_frames=FRAMES)
    return theirs, ours


def random_pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), "uint8")


def with_text(ids, **vision):
    text = np.random.default_rng(1).integers(1, VOCABULARY, (1, TEXT))
    ids = np.array([ids], "int32")
    return {
        **vision,
        "vision_token_ids": ids,
        "vision_mask": np.ones(ids.shape, bool),
        "token_ids": text.astype("int32"),
        "padding_mask": np.ones(text.shape, bool),
    }


def video_inputs(side=SIDE, blocks=BLOCKS):
    """A video and a text, for ours."""
    frame = [7, FRAME_START] + [PATCH_ID] * blocks + [FRAME_END]
    return with_text(
        [1] + frame * FRAMES,
        videos=random_pixels(1, FRAMES, side, side),
        frame_mask=np.ones((1, FRAMES), bool),
    )


def image_inputs(sizes, model):
    """Images of these sizes and a text, for ours; and their tiles."""
    ids, tiles, offset = [1], [], 0
    shapes = {name: x.shape[1:] for name, x in model.backbone.input.items()}
    images = np.zeros((1, *shapes["images"]), "uint8")
    pooling = np.full((1, *shapes["image_pooling"]), -1, "int32")
    place = crop = 0
    for size in sizes:
        tile = tile_image(random_pixels(*size), SIDE, PATCH, 2, CROPS)
        tiles.append(tile)
        offset = crop * (SIDE // PATCH) ** 2
        shifted = np.where(tile.pooling < 0, -1, tile.pooling + offset)
        pooling[0, place : place + len(shifted)] = shifted
        images[0, crop : crop + len(tile.crops)] = tile.crops
        place, crop = place + len(shifted), crop + len(tile.crops)
        for start, rows, columns in (
            (LOW_START, *tile.grid[:2]),
            (IMAGE_START, *tile.grid[2:]),
        ):
            row = [PATCH_ID] * columns + [COLUMN]
            ids += [start] + row * rows + [IMAGE_END]
    return with_text(ids, images=images, image_pooling=pooling), tiles


def patches_of(frames):
    """(count, size, size, 3) -> normalised patches, float32 tensor."""
    side = frames.shape[1] // PATCH
    x = frames.reshape(-1, side, PATCH, side, PATCH, 3)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(len(frames), side**2, -1)
    return torch.from_numpy((x / 255.0 * 2 - 1).astype("float32"))


def their_text(x):
    ids = np.concatenate([x["vision_token_ids"], x["token_ids"]], axis=1)
    vision = np.isin(ids, (*range(96, 101), FRAME_START, FRAME_END))
    arrays = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "mm_token_type_ids": vision,
    }
    return {
        name: torch.from_numpy(value.astype("int64"))
        for name, value in arrays.items()
    }


def their_video(x):
    side = x["videos"].shape[2] // PATCH
    places, rows, columns = molmo2.video_processing_molmo2.arange_for_pooling(
        torch.arange(side**2).reshape(side, side), 3, 3
    )
    frame = torch.arange(FRAMES)[:, None, None] * side**2
    places = torch.where(places < 0, places, places + frame)
    return {
        **their_text(x),
        "pixel_values_videos": patches_of(x["videos"][0]),
        "video_token_pooling": places.reshape(-1, 9),
        "video_grids": torch.tensor([[FRAMES, rows, columns]]),
    }


def their_images(x, tiles):
    pooling = x["image_pooling"][0]
    pooling = pooling[(pooling >= 0).any(-1)]
    crops = np.concatenate([tile.crops for tile in tiles])
    return {
        **their_text(x),
        "pixel_values": patches_of(crops),
        "image_token_pooling": torch.from_numpy(pooling.astype("int64")),
        "image_grids": torch.tensor([tile.grid for tile in tiles]),
        "image_num_crops": torch.tensor([len(tile.crops) for tile in tiles]),
    }


def check_logits(theirs, their_inputs, ours, x):
    with torch.no_grad():
        wanted = theirs(**their_inputs).logits[:, -TEXT:].numpy()
    assert wanted.std() > 0.1
    tiny.close(tiny.run(ours, ours, x), wanted, atol=1e-4)


def test_video(pair):
    theirs, ours = pair
    x = video_inputs()
    check_logits(theirs, their_video(x), ours, x)


@pytest.mark.parametrize("patches", [10, 11, 13, 14, 16])
def test_grids_that_windows_do_not_divide(patches, tmp_path):
    side, blocks = patches * PATCH, (-(-patches // 3)) ** 2
    theirs = reference({}, side)
    theirs.save_pretrained(tmp_path)
    ours = VideoVLM.from_preset(str(tmp_path), prune_ratio=0, num_frames=FRAMES)
    x = video_inputs(side, blocks)
    check_logits(theirs, their_video(x), ours, x)


@pytest.mark.parametrize(
    "sizes", [[(84, 84)], [(60, 130), (200, 90)]], ids=["one", "several"]
)
def test_images(saved, sizes):
    theirs, folder = saved
    ours = VideoVLM.from_preset(
        folder, prune_ratio=0, num_frames=0, num_images=2, max_crops=CROPS
    )
    x, tiles = image_inputs(sizes, ours)
    check_logits(theirs, their_images(x, tiles), ours, x)


def test_text_only(saved):
    theirs, folder = saved
    ours = VideoVLM.from_preset(folder, prune_ratio=0, num_frames=0)
    x = with_text([1])
    assert set(ours.backbone.input) == set(x)
    check_logits(theirs, their_text(x), ours, x)


def test_greedy_generation(pair):
    theirs, ours = pair
    x = video_inputs()
    wanted = theirs.generate(
        **their_video(x), max_new_tokens=NEW, do_sample=False
    )[0, -NEW:].numpy()
    assert len(set(wanted.tolist())) > 1
    ours.compile(sampler="greedy")
    room = ((0, 0), (0, NEW))
    x["token_ids"] = np.pad(x["token_ids"], room)
    x["padding_mask"] = np.pad(x["padding_mask"], room)
    answer = ours.generate(x, stop_token_ids=None, strip_prompt=False)
    answer = keras.ops.convert_to_numpy(answer["token_ids"])
    tiny.same(answer[0, -NEW:], wanted)
