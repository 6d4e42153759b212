"""Videos that share a row: every operation gives what it gives them apart."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops as K

from keras_stts import ops
from keras_stts.ops.segments import fill_first_frames
from keras_stts.ops.segments import places_in_segments
from keras_stts.ops.segments import segment_sizes
from keras_stts.ops.sequence import prune_sequence
from keras_stts.ops.sequence import vision_reach
from tests.harness import compiled
from tests.harness import few_examples
from tests.harness import gradient
from tests.harness import to_numpy

T, P, M = 6, 4, 3  # Rows of six frames of 2x2 blocks, up to three videos.
RATIOS = (0.0, 0.3, 0.5, 0.75)
SELECT = {
    ratio: compiled(
        lambda scores, mask, segments, ratio=ratio: ops.select_blocks(
            scores, ratio, mask, segments, M
        )
    )
    for ratio in RATIOS
}

ALONE = {
    ratio: compiled(
        lambda scores, mask, ratio=ratio: ops.select_blocks(scores, ratio, mask)
    )
    for ratio in RATIOS
}


def row(lengths, size=T):
    """Segments and mask of a row of videos of these lengths."""
    ids = np.repeat(np.arange(len(lengths)), lengths)
    padding = [len(lengths) - 1] * (size - len(ids))
    mask = np.arange(size) < len(ids)
    return np.append(ids, padding).astype("int32"), mask


def rows(*lengths):
    return tuple(np.stack(x) for x in zip(*(row(one) for one in lengths)))


def parts(x, lengths):
    """The videos of one row."""
    return np.split(x[: sum(lengths)], np.cumsum(lengths)[:-1])


LENGTHS = ([2, 1, 3], [1, 4])
SEGMENTS, MASK = rows(*LENGTHS)


def random(*shape):
    return np.random.default_rng(0).uniform(size=shape).astype("float32")


def apart(x, lengths):
    """A row (T, ...) as rows of one video: (videos, T, ...)."""
    padding = [(0, 0)] * (x.ndim - 1)
    return np.stack(
        [np.pad(v, [(0, T - len(v)), *padding]) for v in parts(x, lengths)]
    )


@pytest.mark.parametrize(
    "function",
    [
        ops.concat_previous_frame,
        lambda x, segments: ops.neighbor_similarity(x, segments=segments),
        lambda x, segments: ops.score_bias(
            x[..., 0], 2, (4, 4), segments=segments
        ),
    ],
)
def test_frames_of_one_video_know_no_other(function):
    x = random(2, T, P, 3)
    alone = np.concatenate([apart(*pair) for pair in zip(x, LENGTHS)])
    packed, alone = compiled(
        lambda *x: (function(x[0], x[2]), function(x[1], None))
    )(x, alone, SEGMENTS)
    alone = iter(alone)
    for got, lengths in zip(packed, LENGTHS):
        for part in parts(got, lengths):
            wanted = next(alone)[: len(part)]
            np.testing.assert_allclose(part, wanted, atol=1e-6)


def test_auxiliary_loss_is_the_mean_over_all_videos():
    scores, similarity = random(2, 2, T, P)
    loss = compiled(
        lambda *x: ops.auxiliary_loss(*x[:2], frame_mask=x[2], segments=x[3])
    )
    errors = []
    for b, lengths in enumerate(LENGTHS):
        error = (scores[b] - (1 - similarity[b])) ** 2
        errors += [part[1:] for part in parts(error, lengths)]
    wanted = np.concatenate(errors).mean()
    got = loss(scores, similarity, MASK, SEGMENTS)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    spoilt = np.where(MASK[..., None], scores, 1e3)
    np.testing.assert_allclose(loss(spoilt, similarity, MASK, SEGMENTS), got)
    slopes = gradient(
        lambda *x: ops.auxiliary_loss(*x[:2], frame_mask=x[2], segments=x[3])
    )(scores, similarity, MASK, SEGMENTS)
    first = np.diff(SEGMENTS, axis=1, prepend=-1) > 0
    assert (slopes[first | ~MASK] == 0).all()
    assert (slopes[MASK & ~first] != 0).all()


def test_first_frames():
    x = np.arange(12, dtype="float32").reshape(2, T)
    filled = to_numpy(fill_first_frames(x, -1.0, SEGMENTS))
    assert filled.tolist() == [[-1, 1, -1, -1, 4, 5], [-1, -1, 8, 9, 10, 11]]
    filled = to_numpy(fill_first_frames(x, -1.0))
    assert filled[:, 0].tolist() == [-1, -1]
    np.testing.assert_array_equal(filled[:, 1:], x[:, 1:])


def test_sizes_and_places():
    sizes = segment_sizes(SEGMENTS, MASK, M)
    assert to_numpy(sizes).tolist() == [[2, 1, 3], [1, 4, 0]]
    place = K.arange(T, dtype="int32")[None]
    places = to_numpy(places_in_segments(place, SEGMENTS, sizes))
    assert places.tolist() == [[0, 1, 0, 0, 1, 2], [0, 0, 1, 2, 3, 4]]


lengths_of_rows = st.lists(st.integers(1, T), min_size=1, max_size=M).filter(
    lambda lengths: sum(lengths) <= T
)
some_scores = st.sampled_from(["random", "equal", "one frame", "few"])


@few_examples
@hypothesis.given(
    lengths=st.tuples(lengths_of_rows, lengths_of_rows),
    kind=some_scores,
    ratio=st.sampled_from(RATIOS),
)
def test_each_video_keeps_what_it_keeps_alone(lengths, kind, ratio):
    scores = {
        "random": random(2, T, P),
        "equal": np.full((2, T, P), 0.5, "float32"),
        "one frame": random(2, T, P) + 9 * (np.arange(T) == 4)[:, None],
        "few": np.round(2 * random(2, T, P)),
    }[kind].astype("float32")
    segments, mask = rows(*lengths)
    selection = SELECT[ratio](scores, mask, segments)
    num_kept = ops.num_kept_blocks(P, T, ratio, M)
    assert selection.index.shape == (2, num_kept)
    for b in range(2):
        wanted = np.zeros((T, P), bool)
        start = 0
        for values in parts(scores[b], lengths[b]):
            size = len(values)
            # Alone, padded as a row of one video is.
            padded = np.zeros((1, T, P), "float32")
            padded[0, :size] = values
            alone = ALONE[ratio](padded, np.arange(T)[None] < size)
            wanted[start : start + size] = alone.kept[0, :size]
            start += size
        np.testing.assert_array_equal(selection.kept[b], wanted)
        places = np.flatnonzero(wanted)
        assert selection.mask[b].sum() == len(places)
        assert selection.index[b, : len(places)].tolist() == places.tolist()
        assert (selection.index[b, len(places) :] == T * P - 1).all()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("num_blocks", [4, 9])
def test_most_that_can_stay(ratio, num_blocks):
    """By brute force over all rows."""
    shares = [
        sum(
            max(n * num_blocks - int(n * num_blocks * ratio + 1e-6), num_blocks)
            for n in lengths
            if n
        )
        for lengths in itertools.product(range(T + 1), repeat=M)
        if sum(lengths) == T
    ]
    assert ops.num_kept_blocks(num_blocks, T, ratio, M) == max(shares)
    assert ops.num_kept_blocks(num_blocks, T, ratio, 1) == ops.num_kept_blocks(
        num_blocks, T, ratio
    )


def test_frames_of_several_videos_share_no_row_of_the_packer():
    counts = np.array([[9, 6, 0, 9, 3, 0]], "int32")
    segments, _ = row([3, 3])
    got = to_numpy(ops.alone_in_row(counts, 9, segments[None]))
    alone = [ops.alone_in_row(x, 9) for x in np.split(counts, 2, axis=1)]
    np.testing.assert_array_equal(got, np.concatenate(to_numpy(alone), axis=1))
    assert (got != to_numpy(ops.alone_in_row(counts, 9))).any()


BLOCK, MARK = 7, 5
IDS = (MARK, BLOCK)


def tokens(*lengths):
    """For each video a start token and frames of two blocks."""
    return sum(([1] + [MARK, BLOCK, BLOCK] * n for n in lengths), [])


def sequences(ids, scores, frame_mask, segments, ratio, positions):
    """What is left of rows, of one video if `segments` are two `None`."""
    of_frames, of_tokens = segments
    packed = of_frames is not None
    most = M if packed else 1
    selection = ops.select_blocks(scores, ratio, frame_mask, of_frames, most)
    sequence = prune_sequence(
        *(ids, ids > 0, BLOCK, selection, positions),
        segments=of_tokens,
        num_segments=most,
    )
    reach = vision_reach(sequence, IDS, most if packed else 1)
    return sequence, ops.reach_mask(reach, sequence.mask.shape[1])


@pytest.mark.parametrize(
    ("ratio", "positions"), [(0.5, "consecutive"), (0.3, "original")]
)
def test_sequences_of_a_row(ratio, positions):
    lengths, scores = LENGTHS[0], random(T, 2)
    ids = [tokens(n) for n in lengths]
    segments, _ = row([len(one) for one in ids], 23)
    alone_ids = [one + [0] * (19 - len(one)) for one in ids]
    everyone = np.arange(T) < np.array(lengths)[:, None]

    @compiled
    def run(ids, scores, segments, of_frames, alone_ids, alone_scores, mask):
        of_rows, rule = (of_frames, segments), (ratio, positions)
        packed = sequences(ids, scores, None, of_rows, *rule)
        none = (None, None)
        return packed, sequences(alone_ids, alone_scores, mask, none, *rule)

    (packed, seen), (alone, alone_seen) = run(
        np.array([sum(ids, []) + [0, 0]], "int32"),
        scores[None],
        segments[None],
        SEGMENTS[:1],
        np.array(alone_ids, "int32"),
        apart(scores, lengths),
        everyone,
    )
    which = np.where(packed.mask[0], packed.segments[0], -1)
    blocks_before = 0
    for i in range(M):
        mine, real = which == i, alone.mask[i]
        got, wanted = [x[0, mine] for x in packed], [x[i, real] for x in alone]
        at_blocks = wanted[0] == BLOCK
        for name in (0, 2):  # Tokens and positions.
            np.testing.assert_array_equal(got[name], wanted[name])
        np.testing.assert_array_equal(
            got[3][at_blocks], wanted[3][at_blocks] + blocks_before
        )
        blocks_before += at_blocks.sum()
        np.testing.assert_array_equal(
            seen[0, 0][np.ix_(mine, mine)],
            alone_seen[i, 0][np.ix_(real, real)],
        )
        assert not seen[0, 0][np.ix_(mine, ~mine)].any()
    assert seen.any(axis=-1).all()  # Padding, too, sees something.
