"""Which blocks stay: budgets known before the run, ties settled alike."""

import functools
import math
from collections import namedtuple

from keras import ops

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
    index: Int32 tensor (B, K), places in the T * P blocks of the video,
        ascending; places that a shorter video leaves empty hold T * P - 1.
    mask: Bool tensor (B, K), False at those empty places.
    kept: Bool tensor (B, T, P).
"""


def num_pruned_blocks(num_blocks, num_frames, prune_ratio):
    """Blocks removed from a video: `int(P * prune_ratio * T)`.

    Guarded against round-off: 0.29 of 100 is 29.
    """
    return math.floor(num_blocks * num_frames * prune_ratio + 1e-6)


def num_kept_blocks(num_blocks, num_frames, prune_ratio, num_segments=1):
    """Blocks that stay of a video of `num_frames` frames.

    Of up to `num_segments` videos of as many frames in all, the most that can
    stay: the shorter a video, the more of it is its frame 0.

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
    """The largest sum over videos of `len(table) - 1` frames in all."""
    best = table
    for _ in range(num_segments - 1):
        best = [
            max(best[i - n] + table[n] for n in range(i + 1))
            for i in range(len(table))
        ]
    return best[-1]


def _kept_table(num_blocks, num_frames, prune_ratio):
    """Blocks that stay of a video with 0, 1, ... num_frames real frames.

    A video too short for the ratio keeps frame 0 and nothing else.
    """
    table = [0]
    for frames in range(1, num_frames + 1):
        removed = num_pruned_blocks(num_blocks, frames, prune_ratio)
        table.append(max(num_blocks * frames - removed, num_blocks))
    return table


def _ranking(scores, frame_mask, segments=None):
    """Scores (B, T * P) in which padding is the lowest, frame 0 the highest."""
    batch_shape = (-1, scores.shape[1] * scores.shape[2])
    scores = ops.stop_gradient(ops.cast(scores, "float32"))
    scores = ops.where(ops.isnan(scores), FLOAT32_MAX, scores)
    # Infinities are for padding and frame 0 alone.
    scores = ops.clip(scores, -FLOAT32_MAX, FLOAT32_MAX)
    # Compilers disagree on whether -0.0 or a subnormal number is below 0.
    scores = ops.where(ops.abs(scores) < FLOAT32_TINY, 0.0, scores)
    real = ops.expand_dims(ops.cast(frame_mask, "bool"), -1)
    scores = ops.where(real, scores, -math.inf)
    scores = fill_first_frames(scores, math.inf, segments)
    return ops.reshape(scores, batch_shape)


def select_blocks(
    scores, prune_ratio, frame_mask=None, segments=None, num_segments=1
):
    """Keep the highest-scoring blocks of each video, and frame 0.

    Args:
        scores: Tensor (B, T, P). Real numbers, higher is better.
        prune_ratio: Float in [0, 1). Share of the blocks removed.
        frame_mask: Optional bool tensor (B, T), False for padding frames,
            which come after the real ones. A shorter video has a budget of
            its own, and its padding is never kept.
        segments: Optional int tensor (B, T): several short videos share a
            row, and this is which of them, from 0, a frame belongs to. Their
            frames stand one video after the other; padding, at the end, has
            the last one's number. Each keeps what it would keep alone.
        num_segments: Int. Most videos of a row, 1 without `segments`.

    Returns:
        A `Selection`. K is `num_kept_blocks(P, T, prune_ratio, num_segments)`:
        known before the run, whatever the scores are. No gradient flows
        through it.

    Raises:
        ValueError: If `prune_ratio` does not fit, see `num_kept_blocks`.
    """
    _, num_frames, num_blocks = scores.shape
    total = num_frames * num_blocks
    num_kept = num_kept_blocks(
        num_blocks, num_frames, prune_ratio, num_segments
    )
    if frame_mask is None:
        frame_mask = ops.ones_like(scores[..., 0], dtype="bool")
    frame_mask = ops.cast(frame_mask, "bool")
    ranking = _ranking(scores, frame_mask, segments)
    # A stable sort: of equal scores the earlier block goes first.
    order = ops.cast(ops.argsort(ranking, axis=-1), "int32")
    if segments is None:
        frames = ops.sum(ops.cast(frame_mask, "int32"), axis=-1, keepdims=True)
    else:
        frames = segment_sizes(segments, frame_mask, num_segments)
    table = _kept_table(num_blocks, num_frames, prune_ratio)
    first = ops.minimum(_first_to_stay(frames, table, num_blocks), total - 1)
    if segments is None:
        least = pack_blocks(order, first)
    else:
        segments = ops.cast(segments, "int32")
        real = ops.where(frame_mask, segments, -1)
        order = _one_video_after_the_other(order, _repeat(real, num_blocks))
        least = pack_blocks(order, first)
        least = pack_blocks(least, _repeat(segments, num_blocks))
    # What is not before the first to stay of its video stays.
    place = ops.arange(total, dtype="int32")
    bar = pack_blocks(ranking, least)
    kept = (ranking > bar) | ((ranking == bar) & (place >= least))
    kept = kept & _repeat(frame_mask, num_blocks)
    index = places_of(kept, num_kept)
    found = ops.sum(ops.cast(kept, "int32"), axis=-1, keepdims=True)
    mask = place[:num_kept] < found
    kept = ops.reshape(kept, (-1, num_frames, num_blocks))
    return Selection(ops.where(mask, index, total - 1), mask, kept)


def _first_to_stay(frames, table, num_blocks):
    """Where in the order of removal, one video after the other, what stays
    of each begins: (B, videos), as their numbers of `frames`."""
    total = (len(table) - 1) * num_blocks
    kept_count = ops.take(ops.convert_to_tensor(table, "int32"), frames)
    later = ops.sum(frames, axis=-1, keepdims=True) - ops.cumsum(frames, -1)
    return total - later * num_blocks - kept_count


def _one_video_after_the_other(order, segment_of_block):
    """Padding first, then each video's blocks in the order they had."""
    total = order.shape[1]
    # Unique keys, so every backend sorts them alike.
    key = pack_blocks(segment_of_block, order) * total
    key = key + ops.arange(total, dtype="int32")
    return pack_blocks(order, ops.cast(ops.argsort(key, axis=-1), "int32"))


def _repeat(frames, num_blocks):
    """What a frame has, for each block of it: (B, T) -> (B, T * P)."""
    x = ops.broadcast_to(frames[..., None], (*ops.shape(frames), num_blocks))
    return ops.reshape(x, (-1, frames.shape[1] * num_blocks))
