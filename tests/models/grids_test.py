"""Grids of patches that blocks of 3x3 do not fill."""

import keras
import numpy as np
import pytest

from keras_stts.ops import spread_to_patches
from keras_stts.pruning import FastV
from keras_stts.pruning import ranking
from keras_stts.visualize import overlay
from tests.models import tiny
from tests.tiny import PACKED
from tests.tiny import tiny_batch
from tests.tiny import tiny_model

SIDES = (10, 11, 13, 14, 16)
FRAMES = 3


def model_of(side, **kwargs):
    keras.utils.set_random_seed(0)
    sizes = {"image_size": 2 * side, "patch_size": 2, "window": 3}
    return tiny_model(num_frames=FRAMES, **sizes, **PACKED, **kwargs)


def inputs_of(model):
    x, *_ = tiny_batch(model)
    if model.backbone.language_pruning is not None:
        x["prompt_mask"] = x["padding_mask"]
    return x


@pytest.mark.parametrize("side", SIDES)
def test_packed_is_masked(side, monkeypatch):
    packed = model_of(side)
    x = inputs_of(packed)
    assert packed.backbone.num_blocks == (-(-side // 3)) ** 2
    masked = model_of(side, refill=True)
    masked.set_weights(packed.get_weights())
    # Nothing is given back: kept patches see kept ones, on the whole grid.
    monkeypatch.setattr(
        ranking,
        "alone_in_row",
        lambda counts, *_: keras.ops.zeros_like(counts, dtype="bool"),
    )
    outputs = tiny.run(packed, packed.backbone, x)
    wanted = tiny.run(masked, masked.backbone, x)
    assert not outputs["kept"].all()
    keras.tree.map_structure(tiny.close, outputs, wanted)


@pytest.mark.parametrize(
    "settings",
    [
        {"prune_ratio": 0},
        {"pruning": "tome"},
        {"pruning": "evs"},
        {"pruning": "vidcom2"},
        {"pruning": "frame_similarity", "refill": True},
        {"pruning": ["random", FastV(layer=1)]},
    ],
    ids=str,
)
def test_methods(settings):
    model = model_of(10, **settings)
    assert np.isfinite(tiny.run(model, model, inputs_of(model))).all()
    assert model.flops()["total"] > 0


@pytest.mark.once
def test_pictures():
    """By patches, for blocks at the rim are smaller: 2, 3, 3 and 2 of 10."""
    kept = np.zeros((1, 16), bool)
    kept[0, 5] = True
    patches = spread_to_patches(kept[None], 3, (10, 10))[0]
    patches = keras.ops.convert_to_numpy(patches)
    frames = np.full((1, 20, 20, 3), 200, "uint8")
    bright = (overlay(frames, patches) == 200).all(-1)[0]
    assert bright[4:10, 4:10].all() and bright.sum() == 36


def test_refill_saves_nothing_in_the_vision_encoder():
    whole, pruned, refilled = (
        model_of(9, **settings).flops()["vision_encoder"]
        for settings in ({"prune_ratio": 0}, {}, {"refill": True})
    )
    scorer = model_of(9).flops()["scorer"]
    assert pruned - scorer < whole == refilled - scorer
