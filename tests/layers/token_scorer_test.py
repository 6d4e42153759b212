import numpy as np
import pytest

from keras_stts import ops
from keras_stts.layers import TokenScorer
from tests.harness import to_numpy

B, T, D = 2, 4, 8
# Grid and window; the blocks of the second are padded.
CASES = [((4, 4), 2), ((4, 5), 3)]


def patches(grid):
    shape = (B, T, grid[0] * grid[1], D)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("grid, window", CASES)
def test_it_pools_then_scores(grid, window):
    x = patches(grid)
    scorer = TokenScorer(2, 6, window, grid)
    scores = to_numpy(scorer(x))
    loss = to_numpy(scorer.losses[0])
    blocks = to_numpy(ops.to_blocks(x, window, grid))
    mask = ops.block_mask(grid, window)
    pooled = to_numpy(scorer.pooler(blocks, mask=mask))
    np.testing.assert_allclose(scores, to_numpy(scorer.mlp(pooled)), atol=1e-5)
    # The loss compares the patches themselves, not what is pooled.
    features = blocks.reshape(B, T, len(mask), -1)
    similarity = ops.neighbor_similarity(features)
    wanted = 0.5 * to_numpy(ops.auxiliary_loss(scores, similarity))
    np.testing.assert_allclose(loss, wanted, rtol=1e-4)


def test_a_frame_touches_its_scores_and_those_of_the_next():
    x = patches((4, 4))
    scorer = TokenScorer(2, 6, window=2)
    before = to_numpy(scorer(x))
    x[0, 1] += 1
    changed = (to_numpy(scorer(x)) != before).any(axis=-1)
    assert changed.tolist() == [[False, True, True, False], [False] * 4]


def test_padding_frames_take_no_part_in_the_loss():
    x = patches((4, 4))
    mask = np.array([[True] * 4, [True, True, False, False]])
    scorer = TokenScorer(2, 6, window=2)
    scorer(x, frame_mask=mask)
    loss = to_numpy(scorer.losses[0])
    x[1, 2:] = 7.0
    scorer(x, frame_mask=mask)
    np.testing.assert_array_equal(to_numpy(scorer.losses[0]), loss)


def test_videos_that_share_a_row_are_scored_as_apart():
    row = patches((4, 4))[:1]
    apart = np.zeros((2, *row.shape[1:]), "float32")
    apart[0, :1], apart[1, :3] = row[0, :1], row[0, 1:]
    mask = np.array([[True, False, False, False], [True] * 3 + [False]])
    scorer = TokenScorer(2, 6, window=2)
    wanted = to_numpy(scorer(apart, frame_mask=mask))
    loss = to_numpy(scorer.losses[0])
    got = to_numpy(scorer(row, segments=np.array([[0, 1, 1, 1]])))
    np.testing.assert_allclose(got[0], wanted[mask], atol=1e-6)
    np.testing.assert_allclose(to_numpy(scorer.losses[0]), loss, rtol=1e-5)


def test_as_many_weights_as_the_method_says():
    def count(width, hidden):
        pooler = 4 * width * (width + 1)
        return pooler + (2 * width + 1) * hidden + (hidden + 1) ** 2

    scorer = TokenScorer(2, 6)
    scorer.build((None, T, 81, D))
    assert scorer.count_params() == count(D, 6)
    assert round(count(1152, 4304) / 1e6, 1) == 33.8  # Molmo2-4B.


def test_window_below_one():
    with pytest.raises(ValueError, match=r"`window`.*Received: window=0"):
        TokenScorer(2, 6, window=0)


def test_wrong_rank():
    message = r"`TokenScorer` takes.*Received: shape \(4, 16, 8\)"
    with pytest.raises(ValueError, match=message):
        TokenScorer(2, 6)(patches((4, 4))[0])


def test_grid_mismatch():
    message = r"16 patches and grid=\(3, 5\)"
    with pytest.raises(ValueError, match=message):
        TokenScorer(2, 6, grid=(3, 5))(patches((4, 4)))
    with pytest.raises(ValueError, match="Pass `grid=.*not square"):
        TokenScorer(2, 6)(patches((4, 5)))
