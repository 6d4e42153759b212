"""A video of two frames of two blocks in a sequence of tiny ids."""

import numpy as np
import pytest

from keras_stts.ops import Selection
from keras_stts.ops import reach_mask
from keras_stts.ops import select_blocks
from keras_stts.ops.sequence import Sequence
from keras_stts.ops.sequence import prune_sequence
from keras_stts.ops.sequence import vision_reach
from tests.harness import compiled
from tests.harness import to_numpy

BLOCK, MARK = 7, 5  # Ids of placeholders and of what begins a frame.


def select(scores, prune_ratio, frame_mask=None):
    return select_blocks(np.array(scores, "float32"), prune_ratio, frame_mask)


def prune(token_ids, *args, mask=None, **kwargs):
    token_ids = np.array(token_ids, "int32")
    mask = np.ones(token_ids.shape, bool) if mask is None else mask
    return to_numpy(prune_sequence(token_ids, mask, BLOCK, *args, **kwargs))


THREE_FRAMES = [[1, 5, 7, 7, 5, 7, 7, 5, 7, 7, 2]]
SCORES = [[[0, 0], [0.1, 0.9], [0.2, 0.3]]]  # A third pruned: 2 and 4.


def test_pruned_placeholders_are_taken_out():
    sequence = prune(THREE_FRAMES, select(SCORES, 1 / 3))
    assert sequence.token_ids.tolist() == [[1, 5, 7, 7, 5, 7, 5, 7, 2]]
    assert sequence.mask.all()
    assert sequence.positions.tolist() == [list(range(9))]
    # Kept block 0, 1, 2, 3 at the placeholders.
    at_blocks = sequence.block[sequence.token_ids == BLOCK]
    assert at_blocks.tolist() == [0, 1, 2, 3]


def test_original_positions():
    selection = select(SCORES, 1 / 3)
    sequence = prune(THREE_FRAMES, selection, positions="original")
    assert sequence.positions.tolist() == [[0, 1, 2, 3, 4, 6, 7, 9, 10]]
    consecutive = prune(THREE_FRAMES, selection)
    np.testing.assert_array_equal(sequence.token_ids, consecutive.token_ids)
    np.testing.assert_array_equal(sequence.block, consecutive.block)


def test_frame_that_loses_all_keeps_its_mark():
    scores = [[[0, 0], [0.1, 0.1], [0.9, 0.9]]]
    sequence = prune(THREE_FRAMES, select(scores, 1 / 3))
    assert sequence.token_ids.tolist() == [[1, 5, 7, 7, 5, 5, 7, 7, 2]]


@pytest.mark.parametrize("positions", ["consecutive", "original"])
def test_nothing_pruned(positions):
    for selection in (None, select(SCORES, 0)):
        sequence = prune(THREE_FRAMES, selection, positions=positions)
        assert sequence.token_ids.tolist() == THREE_FRAMES
        assert sequence.positions.tolist() == [list(range(11))]
        at_blocks = sequence.block[sequence.token_ids == BLOCK]
        assert at_blocks.tolist() == list(range(6))


@pytest.mark.parametrize("positions", ["consecutive", "original"])
def test_mixed_lengths(positions):
    """The second video has two frames of three and padding at the end."""
    ids = [*THREE_FRAMES, [1, 5, 7, 7, 5, 7, 7, 2, 0, 0, 0]]
    mask = np.array([[True] * 11, [True] * 8 + [False] * 3])
    frame_mask = np.array([[True] * 3, [True, True, False]])
    scores = [*SCORES, [[0, 0], [0.1, 0.9], [0, 0]]]
    selection = select(scores, 1 / 3, frame_mask)
    sequence = prune(ids, selection, mask=mask, positions=positions)
    assert sequence.token_ids.shape == (2, 9)
    first = prune(THREE_FRAMES, select(SCORES, 1 / 3), positions=positions)
    for got, alone in zip(sequence, first):
        np.testing.assert_array_equal(got[0], alone[0])
    real = sequence.mask[1]
    assert real.tolist() == [True] * 7 + [False] * 2
    assert sequence.token_ids[1, real].tolist() == [1, 5, 7, 7, 5, 7, 2]
    wanted = {"consecutive": range(7), "original": [0, 1, 2, 3, 4, 6, 7]}
    assert sequence.positions[1, real].tolist() == list(wanted[positions])
    at_blocks = sequence.block[1][real & (sequence.token_ids[1] == BLOCK)]
    assert at_blocks.tolist() == [0, 1, 2]


def test_kept_blocks_meet_their_placeholders():
    """By brute force, on random selections: the block is the one meant."""
    rng = np.random.default_rng(0)
    ids = np.array(THREE_FRAMES * 4, "int32")
    scores = rng.uniform(size=(4, 3, 2)).astype("float32")
    selection = to_numpy(select(scores, 0.5))
    sequence = prune(ids, Selection(*selection), positions="original")
    for b in range(4):
        meant = np.cumsum(ids[b] == BLOCK) - 1
        is_block = sequence.token_ids[b] == BLOCK
        which = meant[sequence.positions[b][is_block]]
        got = selection.index[b][sequence.block[b][is_block]]
        np.testing.assert_array_equal(got, which)


def test_compiled():
    run = compiled(
        lambda ids, mask, scores: prune_sequence(
            ids, mask, BLOCK, select_blocks(scores, 1 / 3)
        )
    )
    ids = np.array(THREE_FRAMES, "int32")
    scores = np.array(SCORES, "float32")
    got = run(ids, np.ones(ids.shape, bool), scores)
    for one, other in zip(got, prune(THREE_FRAMES, select(SCORES, 1 / 3))):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    dtypes = [x.dtype.name for x in got]
    assert dtypes == ["int32", "bool", "int32", "int32", "int32"]


def test_int64_ids_become_int32():
    ids = np.array(THREE_FRAMES, "int64")
    sequence = prune_sequence(ids, np.ones(ids.shape, bool), BLOCK)
    assert to_numpy(sequence.token_ids).dtype == "int32"


def test_unknown_positions():
    with pytest.raises(ValueError, match="Received: positions='shuffled'"):
        prune(THREE_FRAMES, positions="shuffled")


def test_vision_reach():
    """Causal; 5 and 7 see each other; nobody sees padding."""
    ids = np.array([[1, 5, 7, 2, 7, 0]])
    real = np.array([[True] * 5 + [False]])
    sequence = Sequence(ids, real, None, None)
    reach = vision_reach(sequence, [MARK, BLOCK])
    mask = to_numpy(reach_mask(reach, 6))
    assert mask.shape == (1, 1, 6, 6)
    assert mask[0, 0].astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
    ]


def test_placeholders_of_images_come_first_and_stay():
    """Two rows with 0 and 2 tokens of images, room for 3."""
    frames = [5, 7, 7, 5, 7, 7, 5, 7, 7]
    ids = [[1, *frames, 2, 0, 0], [1, 7, 7, *frames, 2]]
    mask = np.array(ids) > 0
    count = np.array([0, 2], "int32")
    selection = select(SCORES * 2, 1 / 3)
    sequence = prune(
        ids, selection, mask=mask, num_image_tokens=count, image_room=3
    )
    wanted = [
        ([1, 5, 7, 7, 5, 7, 5, 7, 2], [3, 4, 5, 6]),
        ([1, 7, 7, 5, 7, 7, 5, 7, 5, 7, 2], [0, 1, 3, 4, 5, 6]),
    ]
    for row, (tokens, blocks) in enumerate(wanted):
        real = sequence.mask[row]
        tokens_of_row = sequence.token_ids[row][real]
        assert tokens_of_row.tolist() == tokens
        places = tokens_of_row == BLOCK
        assert sequence.block[row][real][places].tolist() == blocks
