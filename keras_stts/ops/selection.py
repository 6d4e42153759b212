"""Which blocks stay: budgets known before the run, ties settled alike."""

import math
from collections import namedtuple

from keras import ops

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


def num_kept_blocks(num_blocks, num_frames, prune_ratio):
    """Blocks that stay of a video of `num_frames` frames.

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
    return kept


def _kept_table(num_blocks, num_frames, prune_ratio):
    """Blocks that stay of a video with 0, 1, ... num_frames real frames.

    A video too short for the ratio keeps frame 0 and nothing else.
    """
    table = [0]
    for frames in range(1, num_frames + 1):
        removed = num_pruned_blocks(num_blocks, frames, prune_ratio)
        table.append(max(num_blocks * frames - removed, num_blocks))
    return table


def _removal_order(scores, frame_mask):
    """Blocks from the first to go to the last: padding, low, high, frame 0."""
    batch_shape = (-1, scores.shape[1] * scores.shape[2])
    scores = ops.stop_gradient(ops.cast(scores, "float32"))
    # Infinities are for padding and frame 0 alone.
    scores = ops.clip(scores, -FLOAT32_MAX, FLOAT32_MAX)
    # Compilers disagree on whether -0.0 or a subnormal number is below 0.
    scores = ops.where(ops.abs(scores) < FLOAT32_TINY, 0.0, scores)
    if frame_mask is not None:
        real = ops.expand_dims(ops.cast(frame_mask, "bool"), -1)
        scores = ops.where(real, scores, -math.inf)
    first = ops.zeros_like(scores[:, :1]) + math.inf
    scores = ops.concatenate([first, scores[:, 1:]], axis=1)
    # A stable sort: of equal scores the earlier block goes first.
    return ops.argsort(ops.reshape(scores, batch_shape), axis=-1)


def select_blocks(scores, prune_ratio, frame_mask=None):
    """Keep the highest-scoring blocks of each video, and frame 0.

    Args:
        scores: Tensor (B, T, P). Real numbers, higher is better.
        prune_ratio: Float in [0, 1). Share of the blocks removed.
        frame_mask: Optional bool tensor (B, T), False for padding frames,
            which come after the real ones. A shorter video has a budget of
            its own, and its padding is never kept.

    Returns:
        A `Selection`. K is `num_kept_blocks(P, T, prune_ratio)`: known before
        the run, whatever the scores are. No gradient flows through it.

    Raises:
        ValueError: If `prune_ratio` does not fit, see `num_kept_blocks`.
    """
    _, num_frames, num_blocks = scores.shape
    total = num_frames * num_blocks
    num_kept = num_kept_blocks(num_blocks, num_frames, prune_ratio)
    order = ops.cast(_removal_order(scores, frame_mask), "int32")
    candidates = order[:, total - num_kept :]
    places = ops.arange(num_kept, dtype="int32")[None]
    if frame_mask is None:
        mask = ops.broadcast_to(places >= 0, ops.shape(candidates))
    else:
        table = _kept_table(num_blocks, num_frames, prune_ratio)
        frames = ops.sum(ops.cast(frame_mask, "int32"), axis=-1)
        kept_count = ops.take(ops.convert_to_tensor(table, "int32"), frames)
        mask = places >= num_kept - kept_count[:, None]
        candidates = ops.where(mask, candidates, total)
        mask = places < kept_count[:, None]
    index = ops.sort(candidates, axis=-1)
    kept = _scatter_mask(order, mask, total)
    kept = ops.reshape(kept, (-1, num_frames, num_blocks))
    return Selection(ops.minimum(index, total - 1), mask, kept)


def _scatter_mask(order, mask, total):
    """Bool (B, total): the blocks among the last of `order`, without scatter.

    The place of a block in `order` is the inverse permutation, which is the
    argsort of a permutation.
    """
    place = ops.cast(ops.argsort(order, axis=-1), "int32")
    count = ops.sum(ops.cast(mask, "int32"), axis=-1, keepdims=True)
    return place >= total - count
