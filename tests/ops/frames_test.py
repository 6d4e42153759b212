"""Frames with blocks of their own, padded to P."""

import functools

import numpy as np
import pytest
from keras import ops as K

from keras_stts import ops
from tests.harness import compiled
from tests.harness import gradient
from tests.harness import to_numpy

GRIDS = [(2, 3), (1, 4), (3, 2), (1, 1)]  # Of videos, rows and columns.
LENGTHS = (4, 2, 3, 4)
T, P = 4, 8


def videos(seed=0):
    """Scores (B, T, P), full of noise at padding, a mask, and grids."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(len(GRIDS), T, P)).astype("float32")
    scores[rng.random(scores.shape) < 0.1] = 0.25  # Some are equal.
    mask = np.arange(T) < np.array(LENGTHS)[:, None]
    grids = np.repeat(np.array(GRIDS, "int32")[:, None], T, axis=1)
    return scores, mask, np.where(mask[..., None], grids, 1)


def alone(array, row):
    """A video's own frames and blocks: (1, t, p, ...)."""
    return array[row : row + 1, : LENGTHS[row], : np.prod(GRIDS[row])]


@functools.cache
def select(prune_ratio):
    """`select_blocks` of scores, compiled once a shape."""

    def run(scores, mask=None, number=None):
        return ops.select_blocks(scores, prune_ratio, mask, frame_blocks=number)

    return compiled(run)


def test_real():
    scores, mask, grids = videos()
    frames = ops.Frames(mask, grids=grids)
    real = to_numpy(frames.real(scores))
    for row, (length, grid) in enumerate(zip(LENGTHS, GRIDS)):
        wanted = np.zeros((T, P), bool)
        wanted[:length, : np.prod(grid)] = True
        assert (real[row] == wanted).all()
    assert to_numpy(ops.Frames(mask).real(scores)).sum() == mask.sum() * P


@pytest.mark.parametrize("prune_ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_each_video_keeps_what_it_keeps_alone(prune_ratio, seed):
    scores, mask, grids = videos(seed)
    selection = select(prune_ratio)(scores, mask, grids.prod(-1))
    assert selection.index.shape[1] == ops.num_kept_blocks(P, T, prune_ratio)
    for row, (length, grid) in enumerate(zip(LENGTHS, GRIDS)):
        size, kept = np.prod(grid), selection.kept[row]
        ratio = min(prune_ratio, (length - 1) / length)  # Frame 0 stays.
        wanted = select(ratio)(alone(scores, row)).kept
        assert (kept[:length, :size] == wanted[0]).all()
        assert kept.sum() == wanted.sum() == selection.mask[row].sum()
        found = selection.index[row][selection.mask[row]]
        assert (found == np.flatnonzero(kept)).all()


def test_videos_of_a_row_keep_what_they_keep_alone():
    scores, mask, grids = videos()
    row = scores[mask][None]
    segments = np.repeat(np.arange(len(GRIDS)), LENGTHS)[None].astype("int32")
    number = grids.prod(-1)[mask][None]
    whole = np.ones(segments.shape, bool)

    def of_rows(row, whole, segments, number):
        return ops.select_blocks(
            row, 0.5, whole, segments, len(GRIDS), frame_blocks=number
        )

    packed = compiled(of_rows)(row, whole, segments, number)
    each = select(0.5)(scores, mask, grids.prod(-1))
    assert (packed.kept[0] == each.kept[mask]).all()
    assert packed.mask.sum() == packed.kept.sum()


@pytest.mark.parametrize("axis", ["row", "frame"])
def test_scores_are_rescaled_within_the_rows_of_a_grid(axis):
    scores, _, grids = videos()

    def rescale(scores, grids):
        return ops.rescale_scores(scores, 0, axis, grids=grids)

    found = compiled(rescale)(scores, grids)
    assert np.isfinite(found).all()
    for row, (rows, _) in enumerate(GRIDS):
        own = alone(scores, row)
        wanted = to_numpy(ops.rescale_scores(own, rows, axis))
        np.testing.assert_allclose(alone(found, row), wanted, atol=1e-6)


def test_gradient_of_rescaled_scores():
    scores, _, grids = videos()
    weights = np.random.default_rng(1).normal(size=scores.shape)
    weights = weights.astype("float32")
    real = np.arange(P) < grids.prod(-1)[..., None]

    def total(scores, weights, rows=0, grids=None):
        found = ops.rescale_scores(scores, rows, grids=grids)
        return K.sum(found * weights)

    slope = gradient(lambda x, weights, grids: total(x, weights, grids=grids))(
        scores, np.where(real, weights, 0), grids
    )
    # Scores that are equal share a gradient in ways of their own.
    for row, (rows, _) in enumerate(GRIDS):
        own, part = alone(scores, row), alone(weights, row)
        wanted = gradient(
            lambda x, weights, rows=rows: total(x, weights, rows)
        )(own, part)
        values = own.reshape(own.shape[1], rows, -1)
        unique = np.array(
            [
                [len(set(line)) == len(line) for line in frame]
                for frame in values
            ]
        )
        unique = np.repeat(unique, values.shape[2], axis=1)[None]
        np.testing.assert_allclose(
            alone(slope, row)[unique], wanted[unique], atol=1e-5
        )


def test_loss_is_of_real_blocks():
    scores, mask, grids = videos()
    similarity = videos(1)[0]
    found = ops.auxiliary_loss(
        scores, similarity, mask, frame_blocks=grids.prod(-1)
    )
    errors = [
        (alone(scores, row) - (1 - alone(similarity, row)))[:, 1:] ** 2
        for row in range(len(GRIDS))
    ]
    wanted = np.concatenate([error.ravel() for error in errors]).mean()
    np.testing.assert_allclose(to_numpy(found), wanted, rtol=1e-5)
