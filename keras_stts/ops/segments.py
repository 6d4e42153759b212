"""Rows that several samples share, one after the other.

`segments` says which sample of its row each frame or token belongs to: ids
from 0 that never decrease along a row, padding included. `None` stands for
rows of one sample.
"""

from keras import ops

from keras_stts.ops.packing import pack_blocks


def fill_first_frames(x, value, segments=None):
    """Replace the values of the first frame of each video by a number.

    Args:
        x: Tensor (B, T, ...).
        value: Number.
        segments: Optional int tensor (B, T).

    Returns:
        Tensor of the shape of `x`.
    """
    if segments is None:
        first = ops.zeros_like(x[:, :1]) + value
        return ops.concatenate([first, x[:, 1:]], axis=1)
    first = ops.ones_like(segments[:, :1], dtype="bool")
    changes = segments[:, 1:] != segments[:, :-1]
    first = ops.concatenate([first, changes], axis=1)
    first = ops.reshape(first, (*ops.shape(first), *(1 for _ in x.shape[2:])))
    return ops.where(first, ops.zeros_like(x) + value, x)


def segment_sizes(segments, mask, num_segments):
    """Count the real elements of each sample: int32 (B, num_segments).

    Args:
        segments: Int tensor (B, S).
        mask: Bool tensor (B, S), False for padding.
        num_segments: Int. Most samples of a row.
    """
    which = ops.arange(num_segments, dtype="int32")
    same = ops.cast(segments, "int32")[..., None] == which
    real = ops.cast(mask, "bool")[..., None]
    return ops.sum(ops.cast(same & real, "int32"), axis=1)


def places_in_segments(place, segments, sizes):
    """Turn positions in a row into positions in each sample.

    Args:
        place: Int32 tensor (B, S), or one that broadcasts to it.
        segments: Int tensor (B, S).
        sizes: Int32 tensor (B, num_segments).

    Returns:
        Int32 tensor (B, S).
    """
    starts = ops.cumsum(sizes, axis=-1) - sizes
    return place - pack_blocks(starts, ops.cast(segments, "int32"))


def next_positions(places, mask, segments=None, num_segments=1):
    """The position that follows the largest of each sample.

    Args:
        places: Int tensor (B, S, 3), positions in time, height and width.
        mask: Bool tensor (B, S), False for padding.
        segments: Optional int tensor (B, S).
        num_segments: Int. Most samples of a row.

    Returns:
        Int32 tensor (B,), or (B, num_segments) with `segments`; 0 of a sample
        that has no token here.
    """
    last = ops.max(ops.cast(places, "int32"), axis=-1)
    last = ops.where(ops.cast(mask, "bool"), last, -1)
    if segments is None:
        return ops.max(last, axis=1) + 1
    which = ops.arange(num_segments, dtype="int32")
    same = ops.cast(segments, "int32")[..., None] == which
    return ops.max(ops.where(same, last[..., None], -1), axis=1) + 1


def same_video(frame_mask, segments=None):
    """Which frames belong to the same video: float32 (B, M, T).

    Args:
        frame_mask: Bool tensor (B, T), False for padding, which belongs to no
            video.
        segments: Optional int tensor (B, T).

    Returns:
        M is 1 without `segments`. With them M is T: entry (m, t) says whether
        frame t belongs to the video of frame m. So
        `einsum("bmt,bt...->bm...")` sums over videos, and its result
        broadcasts to the frames.
    """
    real = ops.cast(frame_mask, "float32")[:, None, :]
    if segments is None:
        return real
    same = segments[:, :, None] == segments[:, None, :]
    return ops.cast(same, "float32") * real
