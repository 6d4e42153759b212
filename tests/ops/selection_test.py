import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops as K

from keras_stts import ops
from tests.harness import compiled
from tests.harness import few_examples
from tests.harness import gradient
from tests.harness import to_numpy

B, T, P = 2, 4, 3  # The one shape of the laws.
RATIOS = (0.0, 0.3, 0.5, 0.75)
SELECT = {
    ratio: compiled(
        lambda scores, mask, ratio=ratio: ops.select_blocks(scores, ratio, mask)
    )
    for ratio in RATIOS
}


def select(scores, prune_ratio, frame_mask=None):
    scores = np.array(scores, "float32")
    return to_numpy(ops.select_blocks(scores, prune_ratio, frame_mask))


def kept_by_hand(scores, prune_ratio, num_real):
    """Which blocks of a video stay, in plain Python: bool (T, P)."""
    num_blocks = scores.shape[1]
    free = [
        (0.0 if abs(scores[t, p]) < 1.2e-38 else scores[t, p], t, p)
        for t in range(1, num_real)
        for p in range(num_blocks)
    ]
    removed = int(num_blocks * prune_ratio * num_real + 1e-6)
    kept = np.zeros(scores.shape, bool)
    kept[:num_real] = True
    for _, t, p in sorted(free)[:removed]:
        kept[t, p] = False
    return kept


def test_highest_stay():
    scores = [[[0, 0, 0, 0], [0.9, 0.1, 0.8, 0.2], [0.3, 0.7, 0.4, 0.6]]]
    selection = select(scores, prune_ratio=0.25)
    assert selection.index.tolist() == [[0, 1, 2, 3, 4, 6, 9, 10, 11]]
    assert selection.mask.all()
    assert selection.kept.astype(int).tolist() == [
        [[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 1, 1]]
    ]


@pytest.mark.parametrize("zero", [-0.0, 1e-40, -1e-40])
def test_zeros_tie_whatever_their_sign(zero):
    scores = np.zeros((B, T, P), "float32")
    scores[:, -1, -1] = zero
    everyone = frame_mask(np.full(B, T))
    for selection in (select(scores, 0.5), SELECT[0.5](scores, everyone)):
        assert selection.kept[:, -1].all()


def test_choice_is_over_the_whole_video():
    # Half of eight blocks goes: the whole of frame 1.
    selection = select([[[0.5] * 2, [0.1] * 2, [0.6, 0.1], [0.9] * 2]], 0.375)
    assert selection.kept[0].sum(axis=1).tolist() == [2, 0, 1, 2]


def test_frame_0_is_never_pruned():
    selection = select([[[-9.0, -9], [0, 1], [2, 3]]], prune_ratio=0.5)
    assert selection.index.tolist() == [[0, 1, 5]]


def test_earlier_of_equal_scores_is_removed_first():
    selection = select(np.full((1, 3, 2), 0.5), prune_ratio=0.5)
    assert selection.index.tolist() == [[0, 1, 5]]
    scores = [[[0.5, 0.5], [0.5, 0.7], [0.5, 0.5], [0.7, 0.5]]]
    selection = select(scores, prune_ratio=0.5)
    assert selection.index.tolist() == [[0, 1, 3, 6]]


def test_infinite_scores_beat_neither_frame_0_nor_lose_to_padding():
    inf = np.inf
    scores = [[[0, 0], [inf, inf], [-inf, -inf], [1, 1]]]
    mask = np.array([[True, True, True, False]])
    assert select(scores, 0.5).index.tolist() == [[0, 1, 2, 3]]
    selection = select(scores, 0.25, mask)
    assert selection.mask.tolist() == [[True] * 5 + [False]]
    assert selection.index.tolist() == [[0, 1, 2, 3, 5, 7]]


def test_budget():
    assert ops.num_pruned_blocks(100, 1, 0.29) == 29  # Not 28.999...
    assert ops.num_pruned_blocks(25, 4, 0.29) == 29
    assert ops.num_pruned_blocks(81, 5, 0.3) == 121  # Of 121.5.
    assert ops.num_kept_blocks(81, 32, 0.5) == 1296
    assert ops.num_kept_blocks(4, 2, 0.5) == 4  # Frame 0 alone.


def test_shorter_video_has_its_own_budget():
    scores = np.tile([[[0.9, 0.8], [0.2, 0.1], [0.3, 0.4]]], (3, 1, 1))
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    selection = select(scores, 1 / 3, mask)
    # Removed: 2 of 6, 1 of 4, 0 of 2. Empty places hold the last block.
    assert selection.index.tolist() == [
        [0, 1, 4, 5],
        [0, 1, 2, 5],
        [0, 1, 5, 5],
    ]
    assert selection.mask.tolist() == [
        [True, True, True, True],
        [True, True, True, False],
        [True, True, False, False],
    ]
    assert selection.kept.sum(axis=(1, 2)).tolist() == [4, 3, 2]


def test_video_too_short_for_the_ratio_keeps_frame_0():
    mask = np.array([[True, False, False]])
    selection = select([[[0, 0], [1, 1], [1, 1]]], 0.66, mask)
    assert selection.kept.tolist() == [[[True] * 2, [False] * 2, [False] * 2]]


def test_dtypes():
    selection = ops.select_blocks(np.zeros((1, 2, 3), "float32"), 0.5)
    names = [to_numpy(x).dtype.name for x in selection]
    assert names == ["int32", "bool", "bool"]


finite = st.floats(-1e6, 1e6, width=32)
few_values = st.sampled_from([0.0, -0.0, 1e-40, 0.25, 1.0])


@st.composite
def batches(draw):
    """Scores, all sorts of them, and numbers of real frames."""
    values = draw(st.sampled_from([finite, few_values, st.just(0.5)]))
    count = B * T * P
    scores = draw(st.lists(values, min_size=count, max_size=count))
    scores = np.array(scores, "float32").reshape(B, T, P)
    if draw(st.booleans()):  # One frame has all that is worth keeping.
        scores[:, draw(st.integers(0, T - 1))] += 2e6
    lengths = draw(st.lists(st.integers(1, T), min_size=B, max_size=B))
    return scores, np.array(lengths)


def frame_mask(lengths):
    return np.arange(T) < lengths[:, None]


@pytest.mark.parametrize("ratio", RATIOS)
@few_examples
@hypothesis.given(batch=batches())
def test_selection_is_the_one_of_plain_python(ratio, batch):
    scores, lengths = batch
    selection = SELECT[ratio](scores, frame_mask(lengths))
    num_kept = ops.num_kept_blocks(P, T, ratio)
    assert selection.index.shape == (B, num_kept)
    for b, length in enumerate(lengths):
        removable = min(ratio, (length - 1) / length)
        kept = kept_by_hand(scores[b], removable, length)
        np.testing.assert_array_equal(selection.kept[b], kept)
        places = np.flatnonzero(kept)
        empty = num_kept - len(places)
        wanted = places.tolist() + [T * P - 1] * empty
        assert selection.index[b].tolist() == wanted
        assert selection.mask[b].sum() == len(places)
        assert selection.mask[b, : len(places)].all()


@few_examples
@hypothesis.given(batch=batches())
def test_laws(batch):
    scores, lengths = batch
    full = np.full(B, T)
    selection = SELECT[0.5](scores, frame_mask(full))
    num_kept = ops.num_kept_blocks(P, T, 0.5)
    assert (selection.kept.sum(axis=(1, 2)) == num_kept).all()
    assert selection.kept[:, 0].all()
    assert selection.mask.all()
    assert (np.diff(selection.index, axis=1) > 0).all()
    # No block that stays is worse than one that goes.
    for b in range(B):
        stays, goes = selection.kept[b, 1:], ~selection.kept[b, 1:]
        if stays.any() and goes.any():
            worst, best = scores[b, 1:][stays].min(), scores[b, 1:][goes].max()
            assert worst >= best - 2.4e-38  # Subnormal numbers count as 0.
    # Padding is never kept, and the videos don't know of each other.
    padded = SELECT[0.5](scores, frame_mask(lengths))
    assert not padded.kept[~frame_mask(lengths)].any()
    swapped = SELECT[0.5](scores[::-1].copy(), frame_mask(lengths[::-1]))
    for one, other in zip(padded, swapped):
        np.testing.assert_array_equal(one, other[::-1])


@few_examples
@hypothesis.given(batch=batches())
def test_video_of_a_padded_batch_selects_what_it_selects_alone(batch):
    scores, _ = batch
    together = SELECT[0.5](scores, frame_mask(np.array([T, T // 2])))
    alone = select(scores[1:, : T // 2], 0.5)
    np.testing.assert_array_equal(together.kept[1, : T // 2], alone.kept[0])
    count = alone.index.shape[1]
    np.testing.assert_array_equal(together.index[1, :count], alone.index[0])


def test_keeping_all():
    selection = select(np.random.rand(2, 3, 4), 0)
    np.testing.assert_array_equal(selection.index, [np.arange(12)] * 2)
    assert selection.kept.all()


def test_no_gradient_flows_through_the_choice():
    def total(scores):
        kept = ops.select_blocks(scores, 0.5).kept
        return K.sum(scores * K.cast(kept, "float32"))

    scores = np.random.default_rng(0).normal(size=(1, 4, 3)).astype("float32")
    np.testing.assert_array_equal(
        gradient(total)(scores), select(scores, 0.5).kept
    )


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, float("nan")])
def test_ratio_outside_its_range(ratio):
    message = rf"must lie in \[0, 1\)\. Received: prune_ratio={ratio}"
    with pytest.raises(ValueError, match=message):
        ops.num_kept_blocks(9, 4, ratio)


def test_ratio_too_large_for_the_frames():
    message = (
        r"Frame 0 is never pruned.*Received: prune_ratio=0\.8, num_frames=4\. "
        r"Use prune_ratio <= 0\.75 or more frames"
    )
    with pytest.raises(ValueError, match=message):
        select(np.zeros((1, 4, 9)), 0.8)
    with pytest.raises(ValueError, match=r"Use prune_ratio <= 0\.666 or"):
        ops.num_kept_blocks(9, 3, 0.9)
    with pytest.raises(ValueError, match="num_frames=1"):
        ops.num_kept_blocks(4, 1, 0.25)


def test_scores_that_are_no_numbers_stay():
    """As many blocks as ever are kept, these before all others."""
    scores = np.random.default_rng(0).normal(size=(2, 4, 9)).astype("float32")
    scores[:, 1:3, 4] = np.nan
    kept = to_numpy(ops.select_blocks(scores, 0.5).kept)
    assert (kept.sum(axis=(1, 2)) == 18).all() and kept[:, 1:3, 4].all()
