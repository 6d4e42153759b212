import numpy as np
import pytest

from keras_stts import ops
from keras_stts.layers import ScorerMLP
from tests.harness import to_numpy

SHAPE = (2, 3, 4, 5)  # Videos, frames, blocks, width.
FRAME_MASK = np.array([[True, True, True], [True, True, False]])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_scores_are_those_of_the_formula():
    pooled = normal(*SHAPE)
    scorer = ScorerMLP(6, aux_coefficient=None)
    scores = to_numpy(scorer(pooled))
    x = np.concatenate([np.zeros_like(pooled[:, :1]), pooled[:, :-1]], axis=1)
    x = np.concatenate([x, pooled], axis=-1)
    for dense in (scorer.hidden_1, scorer.hidden_2):
        x = x @ to_numpy(dense.kernel.value) + to_numpy(dense.bias.value)
        x = x * sigmoid(x)
    x = x @ to_numpy(scorer.score.kernel.value)
    np.testing.assert_allclose(scores, sigmoid(x[..., 0]), atol=1e-5)
    assert scorer.losses == []


@pytest.mark.parametrize("mask", [None, FRAME_MASK])
def test_auxiliary_loss(mask):
    pooled, features = normal(*SHAPE), normal(*SHAPE[:3], 7, seed=1)
    scorer = ScorerMLP(6, aux_coefficient=0.25)
    scores = scorer(pooled, features=features, frame_mask=mask)
    wanted = ops.auxiliary_loss(scores, ops.neighbor_similarity(features), mask)
    (loss,) = scorer.losses
    np.testing.assert_allclose(
        to_numpy(loss), 0.25 * to_numpy(wanted), rtol=1e-5
    )


def test_scores_seldom_tie_in_bfloat16():
    scorer = ScorerMLP(6, aux_coefficient=None, dtype="mixed_bfloat16")
    scores = to_numpy(scorer(normal(1, 20, 30, 5)))
    assert len(np.unique(scores)) > 590  # Of 600; rounded, 472.


def test_features_are_the_inputs_unless_given():
    pooled = normal(*SHAPE)
    scorer = ScorerMLP(6)
    scorer(pooled)
    alone = to_numpy(scorer.losses[0])
    scorer(pooled, features=pooled)
    np.testing.assert_array_equal(to_numpy(scorer.losses[0]), alone)


def test_wrong_rank():
    message = r"`ScorerMLP` takes.*Received: shape \(3, 4, 5\)"
    with pytest.raises(ValueError, match=message):
        ScorerMLP(6)(normal(*SHAPE[1:]))


def test_negative_coefficient():
    with pytest.raises(ValueError, match="Received: coefficient=-1"):
        ScorerMLP(6, aux_coefficient=-1)
