"""What every layer must do, checked the same way; see `tests.harness`."""

import inspect

import keras
import numpy as np
import pytest

from keras_stts import layers
from keras_stts.layers import AuxiliaryLoss
from keras_stts.layers import RaggedPacking
from keras_stts.layers import ScoreBias
from keras_stts.layers import ScorerMLP
from keras_stts.layers import TokenPooler
from keras_stts.layers import TokenPruning
from keras_stts.layers import TokenScorer
from keras_stts.ops import select_blocks
from tests.harness import check_layer
from tests.harness import to_numpy

B, T, P, D = 2, 3, 4, 8  # Videos, frames, blocks a frame, width.


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def uniform(*shape):
    return np.random.default_rng(1).uniform(size=shape).astype("float32")


FRAME_MASK = np.array([[True, True, True], [True, True, False]])


def schedule():
    return keras.optimizers.schedules.PolynomialDecay(0.5, 10, 0.1)


def selection():
    return to_numpy(select_blocks(uniform(B, T, P), 0.5, FRAME_MASK))


CASES = {
    "token_pooler": lambda: check_layer(
        TokenPooler,
        {"num_heads": 2, "head_dim": 4, "output_dim": 6},
        {"inputs": normal(B, T, P, 9, D)},
        num_weights=8,
    ),
    "token_pooler_mask": lambda: check_layer(
        TokenPooler,
        {"num_heads": 2},
        {"inputs": normal(B, 9, D), "mask": uniform(B, 9) > 0.4},
        num_weights=8,
        fit=False,
    ),
    "scorer_mlp": lambda: check_layer(
        ScorerMLP,
        {"hidden_dim": 6, "aux_coefficient": schedule()},
        {
            "inputs": normal(B, T, P, D),
            "features": normal(B, T, P, 5),
            "frame_mask": FRAME_MASK,
        },
        num_weights=7,
        float32=True,
    ),
    "token_scorer": lambda: check_layer(
        TokenScorer,
        {
            "num_heads": 2,
            "hidden_dim": 6,
            "window": 2,
            "aux_coefficient": None,
            "stop_gradient_target": True,
        },
        {"inputs": normal(B, T, 16, D)},
        num_weights=14,
        float32=True,
    ),
    "token_scorer_padded_grid": lambda: check_layer(
        TokenScorer,
        {
            "num_heads": 2,
            "hidden_dim": 6,
            "window": 3,
            "grid": (4, 5),
            "aux_coefficient": schedule(),
        },
        {"inputs": normal(B, T, 20, D), "frame_mask": FRAME_MASK},
        num_weights=15,
        float32=True,
        fit=False,
    ),
    "score_bias": lambda: check_layer(
        ScoreBias,
        {
            "window": 3,
            "grid": (4, 5),
            "rescale_axis": "frame",
            "rescale_min": 0.2,
        },
        {"inputs": uniform(B, T, P)},
        num_weights=0,
        float32=True,
    ),
    "token_pruning": lambda: check_layer(
        TokenPruning,
        {"prune_ratio": 0.5},
        {"inputs": uniform(B, T, P), "frame_mask": FRAME_MASK},
        num_weights=0,
        fit=False,  # What it returns is chosen, not computed.
    ),
    "ragged_packing": lambda: check_layer(
        RaggedPacking,
        {"window": 3, "grid": (4, 5)},
        {"inputs": normal(B, T, 20, D), "selection": selection()},
        num_weights=0,
    ),
    "auxiliary_loss": lambda: check_layer(
        AuxiliaryLoss,
        {"coefficient": 0.3, "stop_gradient_target": True},
        {
            "inputs": normal(B, D),
            "scores": uniform(B, T, P),
            "similarity": uniform(B, T, P),
            "frame_mask": FRAME_MASK,
        },
        num_weights=0,
        float32=True,
        fit=False,
    ),
    "auxiliary_loss_schedule": lambda: check_layer(
        AuxiliaryLoss,
        {"coefficient": schedule()},
        {
            "inputs": normal(B, D),
            "scores": uniform(B, T, P),
            "similarity": uniform(B, T, P),
        },
        num_weights=1,
        float32=True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layer(case):
    assert CASES[case]().built


def test_no_layer_is_left_out():
    source = inspect.getsource(inspect.getmodule(test_layer))
    missing = [n for n in layers.__all__ if f"        {n},\n" not in source]
    assert not missing
