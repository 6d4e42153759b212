"""Agreement with the published code's figures, gradients included."""

import functools
import pathlib

import numpy as np
import pytest
from keras import ops

from keras_stts import VideoVLM
from keras_stts.models import molmo2_weights
from keras_stts.models.vision_encoder import VisionEncoder
from keras_stts.ops import auxiliary_loss
from keras_stts.ops import from_blocks
from keras_stts.ops import unpack_blocks
from tests.gradients import loss_and_gradients
from tests.models import tiny

GOLDEN = pathlib.Path(__file__).parent / "golden"
VIDEOS = ("video5_prune30", "video5_prune50", "video6_prune80")
REFILLED = ("refill_video6_prune30", "refill_video6_prune50")
TOLERANCE = 1e-4


def load(name):
    return dict(np.load(GOLDEN / f"{name}.npz"))


def encoder(golden):
    num_frames = golden["patches"].shape[0]
    layer = VisionEncoder(
        num_layers=7,
        hidden_dim=16,
        num_heads=2,
        head_dim=8,
        intermediate_dim=40,
        patch_size=14,
        feature_layers=[6],
        prune_ratio=round(float(golden["prune_ratio"]), 2),
        refill="reference_rows" in golden,
    )
    layer.build((None, num_frames, 378, 378, 3))
    for name, variable in names(layer).items():
        value = golden["weight/" + name]
        variable.assign(value.T if variable.name == "kernel" else value)
    return layer


def names(layer):
    """Published name of each variable of the encoder's blocks and scorer."""
    table = {}
    for i, block in enumerate(layer.blocks):
        molmo2_weights.add_vision_block(table, f"resblocks.{i}.", block)
    molmo2_weights.add_scorer(table, "temporal_token_scorer.", layer.scorer)
    return {keys[0]: variables[0] for keys, variables in table.items()}


def unpacked(features, selection):
    blocks = unpack_blocks(features, selection)
    return from_blocks(blocks, 3, (27, 27))


@functools.cache
def outputs(name):
    """What the encoder makes of a video; features of blocks 3, 4 and 6."""
    golden = load(name)
    layer = encoder(golden)
    layer.feature_layers = (3, 4, 6)
    result = tiny.run(layer, layer.encode, golden["patches"][None])
    return golden, result


def hidden_after(name, block):
    """(T, N, D), zeros where pruned."""
    _, result = outputs(name)
    start = 16 * (3, 4, 6).index(block)
    features = result["features"][..., start : start + 16]
    hidden = unpacked(features, result["selection"])
    return ops.convert_to_numpy(hidden)[0]


@pytest.mark.parametrize("name", VIDEOS + REFILLED)
def test_scores_and_selection(name):
    golden, got = outputs(name)
    tiny.same(got["selection"].kept[0], golden["kept_blocks"])
    tiny.close(got["scores"][0], golden["scores"], TOLERANCE)
    if name in REFILLED:
        return
    tiny.close(
        got["similarity"][0, 1:], golden["neighbor_similarity"], TOLERANCE
    )


@pytest.mark.parametrize("name", VIDEOS + REFILLED)
def test_hidden_states(name):
    golden, _ = outputs(name)
    kept = golden["kept_tokens"][..., None]
    for block in (3, 4, 6):
        tiny.close(
            hidden_after(name, block),
            golden[f"hidden_after_block{block}"] * kept,
            TOLERANCE,
        )


@pytest.mark.parametrize("name", VIDEOS)
def test_losses(name):
    golden, got = outputs(name)
    task = np.sum(hidden_after(name, 6) * golden["loss_target"])
    task /= golden["kept_tokens"].sum()
    aux = auxiliary_loss(got["scores"], got["similarity"])
    aux = float(ops.convert_to_numpy(aux))
    for value, wanted in (
        (task, "task_loss"),
        (aux, "aux_mse"),
        (task + 0.5 * aux, "loss"),
    ):
        np.testing.assert_allclose(value, golden[wanted], atol=TOLERANCE)


@pytest.mark.parametrize("name", VIDEOS)
def test_gradients(name):
    golden = load(name)
    layer = encoder(golden)
    variables = names(layer)
    target = ops.convert_to_tensor(golden["loss_target"])
    num_kept = golden["kept_tokens"].sum()

    def loss(patches):
        result = layer.encode(patches[None])
        hidden = unpacked(result["features"], result["selection"])[0]
        task = ops.sum(hidden * target) / num_kept
        aux = auxiliary_loss(result["scores"], result["similarity"])
        return task + 0.5 * aux

    value, patch_gradient, gradients = loss_and_gradients(
        loss, golden["patches"], list(variables.values())
    )
    np.testing.assert_allclose(value, golden["loss"], atol=TOLERANCE)
    tiny.close(patch_gradient, golden["grad/patches"], TOLERANCE)
    checked = 0
    for (key, variable), gradient in zip(variables.items(), gradients):
        if "grad/" + key in golden:
            gradient = gradient.T if variable.name == "kernel" else gradient
            np.testing.assert_allclose(
                gradient, golden["grad/" + key], atol=TOLERANCE, err_msg=key
            )
            checked += 1
    parts = ("grad/resblocks", "grad/temporal")
    assert checked == sum(key.startswith(parts) for key in golden)


def tiny_inputs(golden):
    """The golden sequence cut into the vision part and the text part."""
    ids = golden["token_ids"]
    cut = int(np.flatnonzero(golden["vision_token"])[-1]) + 1
    pixels = golden["pixel_values_int8"].astype("int32") + 128
    patches = pixels.astype("uint8").reshape(4, 27, 27, 14, 14, 3)
    frames = patches.transpose(0, 1, 3, 2, 4, 5).reshape(4, 378, 378, 3)
    vision, text = ids[:cut], ids[cut:]
    return {
        "videos": frames[None],
        "frame_mask": np.ones((1, 4), bool),
        "vision_token_ids": vision[None],
        "vision_mask": np.ones((1, cut), bool),
        "token_ids": text[None],
        "padding_mask": np.ones((1, len(text)), bool),
    }


def tiny_model(**kwargs):
    # Pixels are stored as int8 / 127: with these two, uint8 gives the same.
    return VideoVLM.from_preset(
        str(GOLDEN / "molmo2_tiny"),
        num_frames=4,
        pixel_mean=128 / 255,
        pixel_std=127 / 255,
        **kwargs,
    )


def test_molmo2_unpruned_equals_transformers():
    golden = load("molmo2_tiny")
    inputs = tiny_inputs(golden)
    model = tiny_model(prune_ratio=0)
    logits = tiny.run(model, model, inputs)[0]
    tiny.close(logits, golden["logits_unpruned"], TOLERANCE)


def test_molmo2_pruned():
    golden = load("molmo2_tiny")
    inputs = tiny_inputs(golden)
    model = tiny_model(prune_ratio=0.5)
    table = {}
    scorer = model.backbone.vision_encoder.scorer
    molmo2_weights.add_scorer(table, "", scorer)
    for (key,), (variable,) in table.items():
        value = golden["scorer/" + key]
        variable.assign(value.T if variable.name == "kernel" else value)

    def forward(x):
        outputs = model.backbone(x)
        logits = model.lm_head(outputs["hidden_states"])
        return outputs["kept"], outputs["scores"], logits

    kept, scores, logits = tiny.run(model, forward, inputs)
    tiny.same(kept[0], golden["kept_blocks"])
    tiny.close(scores[0], golden["scores"], TOLERANCE)
    tiny.close(logits[0], golden["logits"], TOLERANCE)
