"""Which blocks stay: static budgets, and ties that all backends break alike."""

import functools
import math
from collections import namedtuple

import numpy as np
from keras import ops

from keras_stts.ops.frames import real_blocks
from keras_stts.ops.packing import known_before_the_run
from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.places import places_of
from keras_stts.ops.segments import fill_first_frames
from keras_stts.ops.segments import segment_sizes

FLOAT32_MAX = 3.4e38
FLOAT32_TINY = 1.2e-38

Selection = namedtuple("Selection", ["index", "mask", "kept"])
Selection.__doc__ = """The blocks of each video that stay.

Attributes:
    index: Int32 tensor (B, K), ascending indices into the T * P blocks of the
        video; the entries that a shorter video does not need are T * P - 1.
    mask: Bool tensor (B, K), False for these entries.
    kept: Bool tensor (B, T, P), which blocks stay.

Example:
```python
scores = np.array([[[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]]])
selection = keras_stts.ops.select_blocks(scores, prune_ratio=0.34)
selection.index  # [[0, 1, 2, 5]]
selection.kept  # [[[True, True], [True, False], [False, True]]]
```

Reference:
    STTS (arXiv 2603.18004), token pruning.
"""


def num_pruned_blocks(num_blocks, num_frames, prune_ratio):
    """Blocks removed from a video: `int(P * prune_ratio * T)`.

    Round-off is corrected: 0.29 of 100 is 29.
    """
    return math.floor(num_blocks * num_frames * prune_ratio + 1e-6)


def num_kept_blocks(num_blocks, num_frames, prune_ratio, num_segments=1):
    """Number of blocks that a row of `num_frames` frames keeps.

    With several videos in a row it is the largest number that up to
    `num_segments` videos can keep: every video keeps its frame 0, which is a
    larger share of a shorter video.

    Raises:
        ValueError: If `prune_ratio` is outside [0, 1), or so large that not
            even frame 0, which is never pruned, would stay.
    """
    if not 0 <= prune_ratio < 1:
        raise ValueError(
            "`prune_ratio` is the share of blocks removed and must lie in "
            f"[0, 1). Received: prune_ratio={prune_ratio}."
        )
    removed = num_pruned_blocks(num_blocks, num_frames, prune_ratio)
    kept = num_blocks * num_frames - removed
    if kept < num_blocks:
        largest = math.floor(1000 * (num_frames - 1) / num_frames) / 1000
        raise ValueError(
            "Frame 0 is never pruned, so a video of `num_frames` frames can "
            "lose at most the share (num_frames - 1) / num_frames of its "
            f"blocks. Received: prune_ratio={prune_ratio}, num_frames="
            f"{num_frames}. Use prune_ratio <= {largest} or more frames."
        )
    if num_segments == 1:
        return kept
    table = _kept_table(num_blocks, num_frames, prune_ratio)
    return _most_kept(tuple(table), num_segments)


@known_before_the_run
def _most_kept(table, num_segments):
    return _search_most_kept(table, num_segments)


@functools.lru_cache(maxsize=256)
def _search_most_kept(table, num_segments):
    """The largest sum over videos that have `len(table) - 1` frames in all."""
    best = table
    for _ in range(num_segments - 1):
        best = [
            max(best[i - n] + table[n] for n in range(i + 1))
            for i in range(len(table))
        ]
    return best[-1]


def _kept_table(num_blocks, num_frames, prune_ratio):
    """Numbers of blocks that videos of 0, 1, ... num_frames frames keep.

    A video too short for the ratio keeps frame 0 and nothing else.
    """
    table = [0]
    for frames in range(1, num_frames + 1):
        removed = num_pruned_blocks(num_blocks, frames, prune_ratio)
        table.append(max(num_blocks * frames - removed, num_blocks))
    return table


def _ranking(scores, real, segments=None):
    """Scores (B, T * P) in which padding is the lowest, frame 0 the highest."""
    batch_shape = (-1, scores.shape[1] * scores.shape[2])
    scores = ops.stop_gradient(ops.cast(scores, "float32"))
    scores = ops.where(ops.isnan(scores), FLOAT32_MAX, scores)
    # Infinities are for padding and frame 0 alone.
    scores = ops.clip(scores, -FLOAT32_MAX, FLOAT32_MAX)
    # Compilers disagree on whether -0.0 or a subnormal number is below 0.
    scores = ops.where(ops.abs(scores) < FLOAT32_TINY, 0.0, scores)
    scores = fill_first_frames(scores, math.inf, segments)
    scores = ops.where(real, scores, -math.inf)
    return ops.reshape(scores, batch_shape)


def select_blocks(
    scores,
    prune_ratio,
    frame_mask=None,
    segments=None,
    num_segments=1,
    *,
    frame_blocks=None,
):
    """Keep the highest-scoring blocks of each video, and frame 0.

    Args:
        scores: Tensor (B, T, P). Real numbers, higher is better.
        prune_ratio: Float in [0, 1). Share of the blocks removed.
        frame_mask: Optional bool tensor (B, T), False for padding frames,
            which come after the real ones. A shorter video has a budget of
            its own, and its padding is never kept.
        segments: Optional int tensor (B, T), for rows that several short
            videos share: the number of each frame's video, from 0. The videos
            of a row follow each other; padding, at the end, has the number of
            the last one. Each video keeps the blocks it would keep alone.
        num_segments: Int. Most videos in a row, 1 without `segments`.
        frame_blocks: Optional int tensor (B, T): how many blocks each frame
            has, the first ones of its P; the frames of a video have as many.
            The others are padding, as those of padding frames are.

    Returns:
        A `Selection`. K is `num_kept_blocks(P, T, prune_ratio, num_segments)`,
        which does not depend on the scores. No gradient flows through it.

    Raises:
        ValueError: If `prune_ratio` is too large, see `num_kept_blocks`.
    """
    _, num_frames, num_blocks = scores.shape
    total = num_frames * num_blocks
    num_kept = num_kept_blocks(
        num_blocks, num_frames, prune_ratio, num_segments
    )
    if frame_mask is None:
        frame_mask = ops.ones_like(scores[..., 0], dtype="bool")
    frame_mask = ops.cast(frame_mask, "bool")
    place = ops.arange(total, dtype="int32")
    if frame_blocks is not None:
        frame_blocks = ops.cast(frame_blocks, "int32")
    real = real_blocks(scores, frame_mask, frame_blocks)
    ranking = _ranking(scores, real, segments)
    # A stable sort: of equal scores the earlier block goes first.
    order = ops.cast(ops.argsort(ranking, axis=-1), "int32")
    if frame_blocks is None:
        number, stay = _same_counts(
            frame_mask, segments, num_segments, num_blocks, prune_ratio
        )
    else:
        number, stay = _own_counts(
            real, frame_blocks, segments, num_segments, prune_ratio
        )
    first = ops.minimum(_first_to_stay(number, stay, total), total - 1)
    if segments is None:
        least = pack_blocks(order, first)
    else:
        segments = ops.cast(segments, "int32")
        whose = ops.where(real, segments[..., None], -1)
        whose = ops.reshape(whose, (-1, total))
        order = _one_video_after_the_other(order, whose)
        least = pack_blocks(order, first)
        least = pack_blocks(least, _repeat(segments, num_blocks))
    # A block stays unless it is before the first of its video that stays.
    bar = pack_blocks(ranking, least)
    kept = (ranking > bar) | ((ranking == bar) & (place >= least))
    kept = kept & ops.reshape(real, (-1, total))
    index = places_of(kept, num_kept)
    found = ops.sum(ops.cast(kept, "int32"), axis=-1, keepdims=True)
    mask = place[:num_kept] < found
    kept = ops.reshape(kept, (-1, num_frames, num_blocks))
    return Selection(ops.where(mask, index, total - 1), mask, kept)


def _same_counts(frame_mask, segments, num_segments, num_blocks, prune_ratio):
    """Blocks that each video has and keeps, (B, videos) each, where all frames
    have as many."""
    if segments is None:
        frames = ops.sum(ops.cast(frame_mask, "int32"), axis=-1, keepdims=True)
    else:
        frames = segment_sizes(segments, frame_mask, num_segments)
    table = _kept_table(num_blocks, frame_mask.shape[1], prune_ratio)
    kept = ops.take(ops.convert_to_tensor(table, "int32"), frames)
    return frames * num_blocks, kept


def _own_counts(real, frame_blocks, segments, num_segments, prune_ratio):
    """`_same_counts` where each video's frames have blocks of their own."""
    number = ops.sum(ops.cast(real, "int32"), axis=-1)
    if segments is None:
        segments = ops.zeros_like(number)
    which = ops.arange(num_segments, dtype="int32")
    own = ops.cast(segments, "int32")[..., None] == which
    own = own & (number > 0)[..., None]
    own = ops.cast(own, "int32")
    number = ops.sum(own * number[..., None], axis=1)
    least = ops.max(own * frame_blocks[..., None], axis=1)
    most = real.shape[1] * real.shape[2]
    removed = _removed_table(most, prune_ratio)
    removed = ops.take(ops.convert_to_tensor(removed), number)
    return number, ops.maximum(number - removed, least)


@known_before_the_run
def _removed_table(most, prune_ratio):
    """Blocks removed of 0, 1, ... `most` blocks."""
    return _all_removed(most, prune_ratio)


@functools.lru_cache(maxsize=64)
def _all_removed(most, prune_ratio):
    table = [num_pruned_blocks(n, 1, prune_ratio) for n in range(most + 1)]
    return np.array(table, "int32")


def _first_to_stay(number, kept, total):
    """Index of the first block of each video that stays, (B, videos), in the
    order of removal, in which the videos follow each other."""
    later = ops.sum(number, axis=-1, keepdims=True) - ops.cumsum(number, -1)
    return total - later - kept


def _one_video_after_the_other(order, segment_of_block):
    """Padding first, then the blocks of each video in their former order."""
    total = order.shape[1]
    # Unique keys, so every backend sorts them alike.
    key = pack_blocks(segment_of_block, order) * total
    key = key + ops.arange(total, dtype="int32")
    return pack_blocks(order, ops.cast(ops.argsort(key, axis=-1), "int32"))


def _repeat(frames, num_blocks):
    """Repeat the values of frames for their blocks: (B, T) -> (B, T * P)."""
    x = ops.broadcast_to(frames[..., None], (*ops.shape(frames), num_blocks))
    return ops.reshape(x, (-1, frames.shape[1] * num_blocks))
