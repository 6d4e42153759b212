import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops as K

from keras_stts import ops
from tests.harness import few_examples
from tests.harness import gradient
from tests.harness import to_numpy

MIN = math.exp(-2)


def floats(values):
    return np.array(values, dtype="float32")


def test_concat_previous_frame():
    x = floats([[[[1], [2]], [[3], [4]], [[5], [6]]]])
    pairs = to_numpy(ops.concat_previous_frame(x))
    assert pairs.tolist() == [
        [[[0, 1], [0, 2]], [[1, 3], [2, 4]], [[3, 5], [4, 6]]]
    ]


def test_no_frame_precedes_the_first_of_the_next_video():
    x = floats([[[[1]], [[2]]], [[[3]], [[4]]]])
    pairs = to_numpy(ops.concat_previous_frame(x))
    assert pairs.tolist() == [[[[0, 1]], [[1, 2]]], [[[0, 3]], [[3, 4]]]]


def test_neighbor_similarity():
    frames = [
        [[1, 0], [1, 0], [1, 0], [0, 0]],
        [[5, 0], [0, 2], [-3, 0], [1, 0]],
        [[3, 4], [0, 1], [-3, 4], [1, 0]],
    ]
    similarity = to_numpy(ops.neighbor_similarity(floats([frames])))
    np.testing.assert_allclose(
        similarity,
        [[[0, 0, 0, 0], [1, 0, -1, 0], [0.6, 1, 0.6, 1]]],
        atol=1e-6,
    )


def test_neighbor_similarity_of_nothing_has_a_finite_gradient():
    slope = gradient(lambda x: K.sum(ops.neighbor_similarity(x)))
    assert np.isfinite(slope(np.zeros((1, 2, 3, 4), "float32"))).all()


SCORES = floats([[[0.9], [0.75], [0.5]], [[0.1], [0.2], [1.0]]])
SIMILARITY = floats([[[0], [0.5], [1.0]], [[0], [0.0], [0.0]]])


def test_auxiliary_loss():
    # Errors of frames 1 and 2: 0.25, 0.5 and -0.8, 0. Frame 0 has none.
    value = ops.auxiliary_loss(SCORES, SIMILARITY)
    wanted = (0.0625 + 0.25 + 0.64 + 0) / 4
    np.testing.assert_allclose(to_numpy(value), wanted, rtol=1e-6)


def test_auxiliary_loss_leaves_padding_out():
    mask = np.array([[True, True, True], [True, True, False]])
    for spoilt in (0.0, 1e3):
        scores = SCORES.copy()
        scores[1, 2] = spoilt
        value = ops.auxiliary_loss(scores, SIMILARITY, mask)
        wanted = (0.0625 + 0.25 + 0.64) / 3
        np.testing.assert_allclose(to_numpy(value), wanted, rtol=1e-6)


@pytest.mark.parametrize("mask", [None, np.ones((2, 1), bool)])
def test_auxiliary_loss_of_one_frame_is_zero(mask):
    value = ops.auxiliary_loss(SCORES[:, :1], SIMILARITY[:, :1], mask)
    assert to_numpy(value) == 0


@pytest.mark.parametrize("stop", [False, True])
def test_auxiliary_loss_gradients(stop):
    def loss(x):
        return ops.auxiliary_loss(x[0], x[1], stop_gradient_target=stop)

    scores, similarity = gradient(loss)(np.stack([SCORES, SIMILARITY]))
    # d/ds (s - (1 - c)) ** 2 = 2 (s - 1 + c), over four blocks.
    wanted = floats([[[0], [0.125], [0.25]], [[0], [-0.4], [0]]])
    np.testing.assert_allclose(scores, wanted, atol=1e-6)
    np.testing.assert_allclose(similarity, wanted * (not stop), atol=1e-6)


# Frame 1 has the rows of blocks (0.2, 0.4) and (0.6, 0.6), frame 2 is flat.
RAW = floats([[[0.9, 0.1, 0.3, 0.3], [0.2, 0.4, 0.6, 0.6], [0.5] * 4]])


def test_rescale_by_row():
    rescaled = to_numpy(ops.rescale_scores(RAW, block_rows=2))
    wanted = [[[1, 1, 1, 1], [MIN, 1, MIN, MIN], [MIN] * 4]]
    np.testing.assert_allclose(rescaled, wanted, atol=1e-5)


def test_rescale_by_frame():
    rescaled = to_numpy(ops.rescale_scores(RAW, block_rows=2, axis="frame"))
    half = (1 + MIN) / 2
    wanted = [[[1, 1, 1, 1], [MIN, half, 1, 1], [MIN] * 4]]
    np.testing.assert_allclose(rescaled, wanted, atol=1e-5)


def test_rescale_rows_of_a_wide_frame():
    # Two rows of three blocks, not three of two.
    scores = floats([[[0] * 6, [0.0, 0.5, 1, 0.2, 0.1, 0.2]]])
    rescaled = to_numpy(ops.rescale_scores(scores, 2, minimum=0.5))
    np.testing.assert_allclose(
        rescaled[0, 1], [0.5, 0.75, 1, 1, 0.5, 1], atol=1e-5
    )


def test_score_bias():
    scores = floats([[[0.3] * 4, [0.2, 0.4, 0.6, 0.6]]])
    bias = to_numpy(ops.score_bias(scores, window=2, grid=(4, 4)))
    assert bias.shape == (1, 2, 16)
    assert (bias[0, 0] == 0).all()
    np.testing.assert_allclose(
        bias[0, 1].reshape(4, 4),
        [[-2, -2, 0, 0], [-2, -2, 0, 0], [-2] * 4, [-2] * 4],
        atol=1e-5,
    )


@few_examples
@hypothesis.given(
    scores=st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12),
    axis=st.sampled_from(["row", "frame"]),
    minimum=st.sampled_from([MIN, 0.5, 1.0]),
)
def test_bias_lies_in_its_range(scores, axis, minimum):
    scores = floats(scores).reshape(1, 3, 4)
    bias = to_numpy(ops.score_bias(scores, 3, (6, 6), axis, minimum))
    assert bias.dtype == "float32"
    assert (bias[:, 0] == 0).all()
    assert (bias >= math.log(minimum) - 1e-6).all()
    assert (bias <= 1e-6).all()


@pytest.mark.parametrize("axis", ["row", "frame"])
def test_bias_gradient_where_scores_tie(axis):
    def total(scores, weights):
        return K.sum(weights * ops.score_bias(scores, 2, (4, 4), axis))

    weights = np.random.default_rng(0).normal(size=(1, 3, 16))
    slopes = gradient(total)(RAW, weights.astype("float32"))
    assert (slopes[:, 0] == 0).all()  # Frame 0 is set to 1.
    assert (slopes[:, 1] != 0).any()
    assert np.abs(slopes).max() < 1e3
    # A constant row has none, rather than one of a million.
    assert (slopes[:, 2] == 0).all()
    assert (slopes[:, 1, 2:] == 0).all() == (axis == "row")


def test_rescale_arguments():
    with pytest.raises(ValueError, match="Received: rescale_axis='column'"):
        ops.rescale_scores(RAW, 2, axis="column")
    for minimum in (0, -1, 1.5):
        with pytest.raises(
            ValueError, match=rf"\(0, 1\]\. Received: rescale_min={minimum}"
        ):
            ops.score_bias(RAW, 2, (4, 4), minimum=minimum)
