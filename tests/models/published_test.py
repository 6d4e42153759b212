"""A checkpoint in the published layout, run by the published code and by us."""

import json
import pathlib

import numpy as np
import pytest

from keras_stts import VideoVLM
from tests.models import tiny

FOLDER = pathlib.Path(__file__).parent / "golden" / "published_tiny"
CHECKPOINT = FOLDER / "checkpoint"
LENGTH, NEW = 90, 8
VIDEOS = {
    "video_array": "videos/long",
    "video_array_short": "videos/short",
    "video_file": None,
    "turns_video": "videos/long",
    "subtitle_video": "videos/long",
    "style_video": "videos/short",
}
IMAGES = {"images": (0, 1), "image": (0,), "text": ()}
CASES = [*VIDEOS, *IMAGES]


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(FOLDER / "golden.npz"))


@pytest.fixture(scope="module")
def models():
    options = {"prune_ratio": 0, "sequence_length": LENGTH}
    return {
        "videos": VideoVLM.from_preset(CHECKPOINT, **options),
        "images": VideoVLM.from_preset(
            # Both images are small: one crop of the eight there could be.
            CHECKPOINT,
            num_frames=0,
            num_images=2,
            max_crops=1,
            **options,
        ),
    }


def model_of(models, case):
    return models["videos" if case in VIDEOS else "images"]


def raw(golden, case):
    """One example, as a user passes it."""
    x = {"prompts": [json.loads(str(golden[f"{case}/messages"]))]}
    if case in VIDEOS:
        name = VIDEOS[case]
        video = str(FOLDER / "clip.mp4") if name is None else golden[name]
        x |= {"videos": [video], "fps": float(golden["videos/fps"])}
    else:
        x["images"] = [[golden[f"images/{i}"] for i in IMAGES[case]]]
    return x


def ids_of(x):
    parts = [("vision_token_ids", "vision_mask"), ("token_ids", "padding_mask")]
    return np.concatenate([x[ids][x[mask]] for ids, mask in parts])


def patches(pixels):
    """Uint8 (n, 378, 378, 3) -> normalised (n, 729, 588)."""
    x = pixels.reshape(-1, 27, 14, 27, 14, 3).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(-1, 729, 588).astype("float32")
    return (x / np.float32(255) - np.float32(0.5)) / np.float32(0.5)


def exact(x, case):
    """Inputs with the published pixels.

    Torch settles ties of half, of which 0.04% of the pixels are, in an order
    that depends on the processor and on the number of threads.
    """
    if case == "text":
        return x
    name = "videos" if case in VIDEOS else "images"
    ties = np.load(FOLDER / "ties.npz")
    pixels = x[name].astype("int16").ravel()
    pixels[ties[f"{case}/index"]] += ties[f"{case}/step"]
    return {**x, name: pixels.astype("uint8").reshape(x[name].shape)}


def shown(x, case):
    if case in VIDEOS:
        return patches(x["videos"][x["frame_mask"]])
    return patches(x["images"][x["images"].any(axis=(-1, -2, -3))])


@pytest.mark.parametrize("case", CASES)
def test_inputs(golden, models, case):
    preprocessor = model_of(models, case).preprocessor
    x = preprocessor.generate_preprocess(raw(golden, case))
    tiny.same(ids_of(x), golden[f"{case}/input_ids"])
    # Vision tokens see each other; the start token and times do not.
    ids = preprocessor.tokenizer.vision_token_ids
    types = golden[f"{case}/token_type_ids"]
    tiny.same(np.isin(ids_of(x), ids), types)
    if case in VIDEOS:
        converted = preprocessor.video_converter(
            raw(golden, case)["videos"], fps=float(golden["videos/fps"])
        )
        times = golden[f"{case}/timestamps"]
        np.testing.assert_allclose(converted["timestamps"][0], times)
    elif case in ("images", "image"):
        # Theirs are counted anew in each image.
        pooling = golden[f"{case}/pooling"].astype("int32")
        crops = golden[f"{case}/num_crops"]
        starts = np.repeat([0, crops[0] * 729][: len(crops)], 392)[:, None]
        pooling = np.where(pooling < 0, -1, pooling + starts)
        tiny.same(x["image_pooling"][0, : len(pooling)], pooling)
        assert (x["image_pooling"][0, len(pooling) :] == -1).all()


@pytest.mark.parametrize("case", [case for case in CASES if case != "text"])
def test_pixels(golden, models, case):
    preprocessor = model_of(models, case).preprocessor
    x = preprocessor.generate_preprocess(raw(golden, case))
    own, theirs = shown(x, case), shown(exact(x, case), case)
    sums = theirs.sum((1, 2), dtype="float64")
    np.testing.assert_allclose(sums, golden[f"{case}/pixel_sums"], atol=1e-3)
    means = golden[f"{case}/patch_means"]
    np.testing.assert_allclose(theirs.mean(-1), means, atol=1e-5)
    row = golden[f"{case}/pixels_row"]
    np.testing.assert_allclose(theirs[:, 13 * 27 + 13], row, atol=1e-6)
    apart = np.abs(own - theirs)
    assert apart.max() <= 1.001 * 2 / 255
    assert (apart > 0).mean() < 5e-4


@pytest.mark.parametrize("case", CASES)
def test_logits(golden, models, case):
    model = model_of(models, case)
    x = exact(model.preprocessor.generate_preprocess(raw(golden, case)), case)
    logits = model.predict(x, batch_size=1, verbose=0)[0]
    # Theirs begin at the last vision token, ours behind it.
    wanted = golden[f"{case}/logits"][1:]
    assert len(wanted) == x["padding_mask"].sum()
    np.testing.assert_allclose(logits[: len(wanted)], wanted, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_greedy(golden, models, case):
    model = model_of(models, case)
    x = exact(model.preprocessor.generate_preprocess(raw(golden, case)), case)
    length = int(x["padding_mask"].sum())
    step = model.make_generate_function()
    token_ids = np.array(step(x, stop_token_ids=None)["token_ids"])[0]
    new = token_ids[length : length + NEW]
    tiny.same(new, golden[f"{case}/greedy"])
    text = model.preprocessor.generate_postprocess(
        {"token_ids": new, "padding_mask": np.ones(NEW, bool)}
    )
    assert text == str(golden[f"{case}/greedy_text"])


def test_settings_of_the_files(models):
    model = models["videos"]
    preprocessor = model.preprocessor
    tokenizer = preprocessor.tokenizer
    assert (preprocessor.num_frames, preprocessor.max_crops) == (6, 8)
    assert preprocessor.video_converter.sampling == "molmo2"
    assert not preprocessor.use_frame_special_tokens
    assert (tokenizer.start_token_id, tokenizer.end_token_id) == (302, 302)
    assert tokenizer.pad_token_id == 300
    assert preprocessor.stop_token_ids == [302]
    assert model.default_sampler == "greedy"
    assert model.backbone.vision_encoder.feature_layers == (4, 2)
    assert model.backbone.vision_encoder.num_layers == 5
