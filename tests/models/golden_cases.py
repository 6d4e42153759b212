"""The published code's figures on small models, and ours to compare.

`benchmarks/accelerator.py` checks by them, too.
"""

import functools
import pathlib

import numpy as np
from keras import ops

from keras_stts import VideoVLM
from keras_stts.formats.molmo2 import weights as molmo2_weights
from keras_stts.ops import auxiliary_loss
from keras_stts.ops import from_blocks
from keras_stts.ops import unpack_blocks
from keras_stts.pruning import STTS
from keras_stts.towers.vision_encoder import VisionEncoder
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
        image_size=378,
        patch_size=14,
        feature_layers=[6],
    )
    layer.build()
    method = STTS(
        round(float(golden["prune_ratio"]), 2),
        refill="reference_rows" in golden,
    )
    method.attach(layer, 16, num_frames)
    for name, variable in names(layer, method).items():
        value = golden["weight/" + name]
        variable.assign(value.T if variable.name == "kernel" else value)
    return layer, method


def names(layer, method):
    """Published name of each variable of the encoder's blocks and scorer."""
    table = {}
    for i, block in enumerate(layer.blocks):
        molmo2_weights.add_vision_block(table, f"resblocks.{i}.", block)
    molmo2_weights.add_scorer(table, "temporal_token_scorer.", method.scorer)
    return {keys[0]: variables[0] for keys, variables in table.items()}


def unpacked(features, selection):
    blocks = unpack_blocks(features, selection)
    return from_blocks(blocks, 3, (27, 27))


@functools.cache
def outputs(name):
    """What the encoder makes of a video; features of blocks 3, 4 and 6."""
    golden = load(name)
    layer, method = encoder(golden)
    layer.feature_layers = (3, 4, 6)
    encode = functools.partial(method.encode, layer)
    result = tiny.run(method, encode, golden["patches"][None])
    return golden, result


def hidden_after(name, block):
    """(T, N, D), zeros where pruned."""
    _, result = outputs(name)
    start = 16 * (3, 4, 6).index(block)
    features = result["features"][..., start : start + 16]
    hidden = unpacked(features, result["selection"])
    return ops.convert_to_numpy(hidden)[0]


@functools.cache
def slopes(name):
    """The loss, its gradient in the patches, and in what the figures name.

    Returns:
        Tuple of the golden arrays, the loss, the gradient (T, N, D), and a
        dict of gradients by their names there, in torch's layout.
    """
    golden = load(name)
    layer, method = encoder(golden)
    variables = names(layer, method)
    target = ops.convert_to_tensor(golden["loss_target"])
    num_kept = golden["kept_tokens"].sum()

    def loss(patches):
        result = method.encode(layer, patches[None])
        hidden = unpacked(result["features"], result["selection"])[0]
        task = ops.sum(hidden * target) / num_kept
        aux = auxiliary_loss(result["scores"], result["similarity"])
        return task + 0.5 * aux

    value, patch_gradient, gradients = loss_and_gradients(
        loss, golden["patches"], list(variables.values())
    )
    found = {
        "grad/" + key: gradient.T if variable.name == "kernel" else gradient
        for (key, variable), gradient in zip(variables.items(), gradients)
        if "grad/" + key in golden
    }
    return golden, value, patch_gradient, found


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


def with_scorer(golden):
    """`tiny_model` at half, with the scorer that the figures were made with."""
    model = tiny_model(prune_ratio=0.5)
    table = {}
    scorer = model.backbone.pruning.scorer
    molmo2_weights.add_scorer(table, "", scorer)
    for (key,), (variable,) in table.items():
        value = golden["scorer/" + key]
        variable.assign(value.T if variable.name == "kernel" else value)
    return model


def unpruned_logits():
    """The golden arrays, and (1, S', V) of the tiny Molmo2."""
    golden = load("molmo2_tiny")
    model = tiny_model(prune_ratio=0)
    return golden, tiny.run(model, model, tiny_inputs(golden))


def pruned_logits():
    """The golden arrays, and (kept, scores, logits) at half."""
    golden = load("molmo2_tiny")
    model = with_scorer(golden)

    def forward(x):
        outputs = model.backbone(x)
        logits = model.lm_head(outputs["hidden_states"])
        return outputs["kept"], outputs["scores"], logits

    return golden, tiny.run(model, forward, tiny_inputs(golden))
