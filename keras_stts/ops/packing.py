"""Attention inside frames of unequal length, with static shapes.

Pruning leaves frame t with n_t blocks. The n_t are unknown before the run, but
their sum K is known. So the kept blocks are stored flat, (B, K, ...), and
everything but attention runs on exactly these. For attention the frames are
ranked by n_t: frame 0 keeps P blocks, and the i-th largest of the others keeps
at most `min(P, (K - P) // i)`, because the i largest sum to at most K - P.
These caps hold for any scores. Neighbouring ranks share a group that is padded
to its largest cap; the groups are chosen once, in Python.
"""

import functools
import itertools
import math
from collections import namedtuple

import keras
import numpy as np
from keras import ops

from keras_stts.kernels.choice import chosen_kernel
from keras_stts.ops.attending import attention
from keras_stts.ops.reach import Reach

Layout = namedtuple("Layout", ["rows", "counts", "slots", "start", "stop"])
Layout.__doc__ = """Where each kept block is in the padded groups of frames.

A group has a number of slots for each of its frames; `slots` and `rows` count
the slots of all groups one after the other.

Attributes:
    rows: Int32 tensor (B, slots): index of the kept block in each slot.
    counts: List with an int32 tensor (B, frames) for each group: how many
        slots of each frame, the first ones, are filled; at least 1. `None`
        for a group without padding.
    slots: Int32 tensor (B, K): slot of each kept block.
    start: Int32 tensor (B, K): index of the first kept block of its frame.
    stop: Int32 tensor (B, K): index after the last one.

Example:
```python
scores = np.array([[[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]]])
selection = keras_stts.ops.select_blocks(scores, prune_ratio=0.34)
groups = keras_stts.ops.plan_groups(3, 2, 4)  # 3 frames of 2 blocks, 4 kept.
layout = keras_stts.ops.frame_layout(selection, groups)
layout.start  # [[0, 0, 2, 3]]: frames 0, 1 and 2 keep 2, 1 and 1 blocks.
```
"""


def rank_caps(num_frames, num_blocks, num_kept):
    """The most blocks the frame of each rank can keep, in falling order."""
    free = num_kept - num_blocks
    caps = [min(num_blocks, free // i) for i in range(1, num_frames)]
    return [num_blocks] + caps


def plan_groups(num_frames, num_blocks, num_kept, num_groups=6):
    """Cut the ranks into groups so that attention costs the least.

    Args:
        num_frames: Int T.
        num_blocks: Int P.
        num_kept: Int K, at least P.
        num_groups: Int. Largest number of groups, beside that of frame 0.

    Returns:
        Tuple of (frames, cap) for each group, from the highest rank down:
        its number of frames and the most blocks of each. Ranks that can keep
        nothing are in no group. The first group is `(1, num_blocks)`: frame
        0, which needs no padding.

    Raises:
        ValueError: If `num_groups` is less than 1.
    """
    if num_groups < 1:
        raise ValueError(
            "Frames after the first need at least one group. Received: "
            f"num_groups={num_groups}."
        )
    caps = rank_caps(num_frames, num_blocks, num_kept)[1:]
    caps = [cap for cap in caps if cap > 0]
    starts = _best_cuts(tuple(caps), num_groups)
    ends = (*starts[1:], len(caps))
    groups = [(end - start, caps[start]) for start, end in zip(starts, ends)]
    return ((1, num_blocks), *groups)


def known_before_the_run(function):
    """Keep `torch.compile` from tracing a function of Python numbers."""
    if keras.config.backend() == "torch":
        import torch

        return torch.compiler.assume_constant_result(function)
    return function


@known_before_the_run
def _best_cuts(caps, num_groups):
    """The rank at which each group begins, for the least total cost."""
    return _search_cuts(caps, num_groups)


@functools.lru_cache(maxsize=128)
def _search_cuts(caps, num_groups):
    squares = np.square(np.array(caps, "float64"))
    costs = np.array([0.0] + [math.inf] * len(caps))  # Of the first i ranks.
    cuts = [()] * len(costs)
    for _ in range(num_groups):
        costs, cuts = _one_more_group(squares, costs, cuts)
    return cuts[-1]


def _one_more_group(squares, costs, cuts):
    """Best cuts of the first 0, 1, ... ranks with one group more, or not."""
    starts = np.arange(len(squares))
    new_costs, new_cuts = costs.copy(), list(cuts)
    for end in range(1, len(costs)):
        options = costs[:end] + (end - starts[:end]) * squares[:end]
        start = int(np.argmin(options))
        if options[start] < costs[end]:
            new_costs[end] = options[start]
            new_cuts[end] = (*cuts[start], start)
    return new_costs, new_cuts


def frame_layout(selection, groups, *, first_is_whole=True):
    """Find each kept block's slot in the groups, once per forward pass.

    Args:
        selection: A `Selection`.
        groups: From `plan_groups`.
        first_is_whole: Bool. Whether the first group has no padding: frames
            have P blocks, and frame 0 keeps them all.

    Returns:
        A `Layout`.
    """
    num_frames, num_blocks = selection.kept.shape[1:]
    num_kept = selection.index.shape[1]
    count = ops.sum(ops.cast(selection.kept, "int32"), axis=-1)  # (B, T)
    start = ops.cumsum(count, axis=-1) - count
    # Unique keys: the larger frame first, of equal ones the earlier.
    key = count * num_frames + ops.arange(num_frames - 1, -1, -1, dtype="int32")
    frame_of_rank = ops.cast(ops.argsort(-key, axis=-1), "int32")
    rank_of_frame = ops.cast(ops.argsort(frame_of_rank, axis=-1), "int32")
    start_of_rank = _take_rows(start, frame_of_rank)
    count_of_rank = _take_rows(count, frame_of_rank)
    rows, counts, offsets = _place_groups(
        groups, start_of_rank, count_of_rank, num_kept, first_is_whole
    )
    offsets += [0] * (num_frames - len(offsets))
    offset_of_rank = ops.convert_to_tensor(offsets, "int32")
    frame = selection.index // num_blocks  # (B, K)
    offset = ops.take(offset_of_rank, _take_rows(rank_of_frame, frame))
    start = _take_rows(start, frame)
    place = ops.arange(num_kept, dtype="int32")
    slots = ops.where(selection.mask, offset + place - start, 0)
    # Places without a block see themselves.
    start = ops.where(selection.mask, start, place)
    stop = ops.where(
        selection.mask, start + _take_rows(count, frame), place + 1
    )
    return Layout(rows, counts, slots, start, stop)


def _place_groups(groups, start_of_rank, count_of_rank, num_kept, whole):
    """Flat places and counts of each group, and each rank's first slot."""
    rows, counts, offsets = [], [], []
    rank = slot = 0
    for frames, cap in groups:
        place = ops.arange(cap, dtype="int32")
        start = start_of_rank[:, rank : rank + frames, None]
        count = count_of_rank[:, rank : rank + frames, None]
        flat = ops.minimum(start + place, num_kept - 1)
        rows.append(ops.reshape(flat, (-1, frames * cap)))
        # A frame with no kept block sees one block, so that no row of the
        # softmax is empty; the result is never read.
        padded = rank > 0 or not whole
        counts.append(ops.maximum(count[..., 0], 1) if padded else None)
        offsets += [slot + i * cap for i in range(frames)]
        rank += frames
        slot += frames * cap
    return ops.concatenate(rows, axis=1), counts, offsets


def _take_rows(x, index):
    """x[b, index[b]] for x (B, M, ...) and index (B, K)."""
    if keras.config.backend() == "jax":
        import jax.numpy as jnp

        # A gather within each row stays on the device that has the row.
        index = ops.reshape(index, (*index.shape, *(1 for _ in x.shape[2:])))
        return jnp.take_along_axis(x, index, axis=1, mode="clip")
    # Elsewhere it would copy single elements: up to twenty times as slow.
    batch, size = ops.shape(x)[0], x.shape[1]
    base = ops.arange(batch, dtype="int32")[:, None] * size
    flat = ops.reshape(x, (-1, *x.shape[2:]))
    return ops.take(flat, base + index, axis=0)


def pack_patches(x, index):
    """Take patches of frames: (B, T, N, D) at (B, M) -> (B, M, D).

    Args:
        x: Tensor (B, T, N, D).
        index: Int32 tensor (B, M), indices into the T * N patches of a video.
    """
    num_frames, num_patches, width = x.shape[1:]
    if keras.config.backend() == "jax":
        import jax

        # TPUs would copy all frames to see them as one row of patches.
        def take(x, index):
            place = x.at[index // num_patches, index % num_patches]
            return place.get(mode="clip")

        return jax.vmap(take)(x, index)
    x = ops.reshape(x, (-1, num_frames * num_patches, width))
    return _take_rows(x, index)


def _move_rows(x, there, back):
    """`_take_rows(x, there)`, whose gradient is a gather as well.

    For a scatter XLA would allocate zeros, for all layers at once.

    Args:
        x: Tensor (B, M, ...).
        there: Int tensor (B, N): index into `x` of each element of the result.
        back: Int tensor (B, M): index into the result of each element of `x`,
            whose gradient is read from there alone.
    """
    if keras.config.backend() != "jax":
        return _take_rows(x, there)
    import jax
    import numpy as np

    @jax.custom_vjp
    def move(x, there, back):
        return _take_rows(x, there)

    def forward(x, there, back):
        return move(x, there, back), (there, back)

    def backward(indices, slopes):
        there, back = indices
        own = ops.arange(back.shape[1], dtype=back.dtype)
        went = _take_rows(there, back) == own
        went = ops.reshape(went, (*went.shape, *(1 for _ in slopes.shape[2:])))
        back_slopes = _take_rows(slopes, back)
        zero = np.zeros((), slopes.dtype)
        none = [np.zeros(i.shape, jax.dtypes.float0) for i in indices]
        return ops.where(went, back_slopes, zero), *none

    move.defvjp(forward, backward)
    return move(x, there, back)


def pack_blocks(x, index):
    """Take the kept blocks: (B, M, ...) at (B, K) -> (B, K, ...)."""
    return _take_rows(x, index)


def unpack_blocks(x, selection):
    """Put kept blocks back, zeros where pruned.

    Args:
        x: Tensor (B, K, ...).
        selection: The `Selection` that `x` was packed with.

    Returns:
        Tensor (B, T, P, ...).
    """
    num_frames, num_blocks = selection.kept.shape[1:]
    kept = ops.reshape(selection.kept, (-1, num_frames * num_blocks))
    # The kept blocks are in order, so a block's index is the number of blocks
    # kept before it.
    place = ops.cumsum(ops.cast(kept, "int32"), axis=-1) - 1
    place = ops.clip(place, 0, x.shape[1] - 1)
    trailing = x.shape[2:]
    full = _take_rows(x, place)
    mask = ops.reshape(kept, (*ops.shape(kept), *(1 for _ in trailing)))
    full = ops.where(mask, full, ops.zeros_like(full))
    return ops.reshape(full, (-1, num_frames, num_blocks, *trailing))


def ragged_attention(
    query, key, value, layout, groups, *, window=1, patch_mask=None
):
    """Attention of kept patches to the kept patches of their own frame.

    Args:
        query: Tensor (B, K * g, heads, head_dim), K kept blocks of g patches
            each, in the order of `Selection.index`.
        key: Tensor of the same shape.
        value: Tensor of the same shape.
        layout: From `frame_layout`.
        groups: From `plan_groups`.
        window: Int. g is its square.
        patch_mask: Optional bool tensor (B, K, g), False for the padding in
            blocks at the edge of a padded grid.

    Returns:
        Tensor (B, K * g, heads, head_dim).
    """

    def in_groups(query, key, value, **unused):
        return _attention_in_groups(
            (query, key, value), layout, groups, window, patch_mask
        )

    if chosen_kernel() != "pallas":
        return in_groups(query, key, value)
    from keras_stts.kernels.pallas import pallas_attention

    # The kernel needs no padded groups.
    return pallas_attention(
        query,
        key,
        value,
        reach=_frame_reach(layout, window**2, patch_mask),
        span=max(cap for _, cap in groups) * window**2,
        otherwise=in_groups,
    )


def _frame_reach(layout, g, patch_mask):
    """Which flat patches see which: those of their frame."""
    start, stop = (
        ops.repeat(x * g, g, axis=1) for x in (layout.start, layout.stop)
    )
    if patch_mask is None:
        return Reach(start=start, stop=stop)
    marked = ops.reshape(patch_mask, (-1, start.shape[1]))
    return Reach(marked_start=start, marked_stop=stop, marked=marked)


def _attention_in_groups(tensors, layout, groups, window, patch_mask):
    """`ragged_attention` of frames padded to groups."""
    query, key, value = tensors
    g = window**2
    heads = query.shape[-2:]
    num_kept = query.shape[1] // g
    width = g * heads[0] * heads[1]
    # One gather for all groups.
    query, key, value = (
        _move_rows(
            ops.reshape(x, (-1, num_kept, width)), layout.rows, layout.slots
        )
        for x in (query, key, value)
    )
    if patch_mask is not None:
        patch_mask = _take_rows(patch_mask, layout.rows)
    sizes = [frames * cap for frames, cap in groups]
    pieces = [_cut(x, sizes) for x in (query, key, value)]
    masks = [None] * len(groups)
    if patch_mask is not None:
        masks = _cut(patch_mask, sizes)
    outputs = []
    for i, (frames, cap) in enumerate(groups):
        q, k, v = (ops.reshape(x[i], (-1, cap * g, *heads)) for x in pieces)
        reach = _key_reach(layout.counts[i], masks[i], cap, g)
        out = attention(q, k, v, reach=reach)
        outputs.append(ops.reshape(out, (-1, frames * cap, width)))
    joined = ops.concatenate(outputs, axis=1)
    flat = _move_rows(joined, layout.slots, layout.rows)
    return ops.reshape(flat, (-1, num_kept * g, *heads))


def _cut(x, sizes):
    """Pieces of x (B, N, ...) of these lengths."""
    if keras.config.backend() == "torch":
        # The gradient of each slice would be as large as the whole.
        return x.split(sizes, dim=1)
    ends = itertools.accumulate(sizes)
    return [x[:, end - size : end] for size, end in zip(sizes, ends)]


def _key_reach(count, inside, cap, g):
    """Which keys the frames of a group see, or `None` for all.

    Args:
        count: Int tensor (B, frames) of `Layout.counts`, or None.
        inside: Bool tensor (B, frames * cap, g) of patches, or None.
        cap: Int.
        g: Int.
    """
    lengths = None if count is None else ops.reshape(count, (-1, 1)) * g
    if inside is not None:
        marked = ops.reshape(inside, (-1, cap * g))
        return Reach(marked=marked, marked_stop=lengths)
    return None if lengths is None else Reach(stop=lengths)
