import numpy as np
import pytest

from keras_stts import ops
from keras_stts.layers import ScoreBias
from tests.harness import to_numpy


def scores(num_blocks=4):
    rng = np.random.default_rng(0)
    return rng.uniform(size=(2, 3, num_blocks)).astype("float32")


@pytest.mark.parametrize("axis", ["row", "frame"])
def test_it_is_the_operation(axis):
    layer = ScoreBias(3, (4, 5), rescale_axis=axis, rescale_min=0.25)
    wanted = ops.score_bias(scores(), 3, (4, 5), axis, 0.25)
    np.testing.assert_array_equal(to_numpy(layer(scores())), to_numpy(wanted))


def test_defaults():
    bias = to_numpy(ScoreBias()(scores()))
    assert bias.shape == (2, 3, 36)  # 2x2 blocks of 3x3 patches.
    np.testing.assert_allclose(bias.min(), -2, atol=1e-5)
    assert (bias[:, 0] == 0).all()
    # In each row of blocks the best is 0 and the least -2.
    rows = bias[:, 1:].reshape(2, 2, 2, 3 * 6)
    np.testing.assert_allclose(rows.min(axis=-1), -2, atol=1e-5)
    np.testing.assert_allclose(rows.max(axis=-1), 0, atol=1e-4)


def test_arguments():
    with pytest.raises(ValueError, match="Received: rescale_axis='rows'"):
        ScoreBias(rescale_axis="rows")
    with pytest.raises(ValueError, match="Received: rescale_min=0"):
        ScoreBias(rescale_min=0)
    with pytest.raises(ValueError, match="Received: window=0"):
        ScoreBias(window=0)


@pytest.mark.parametrize("num_blocks, grid", [(5, None), (4, (9, 9))])
def test_grid_mismatch(num_blocks, grid):
    message = rf"`grid` and `window`.*Received: {num_blocks} scores per frame"
    with pytest.raises(ValueError, match=message):
        ScoreBias(3, grid)(scores(num_blocks))


def test_wrong_rank():
    message = r"`ScoreBias` takes.*Received: shape \(3, 4\)"
    with pytest.raises(ValueError, match=message):
        ScoreBias()(scores()[0])
