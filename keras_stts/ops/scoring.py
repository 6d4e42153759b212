"""The scores of blocks: neighbours in time, loss and attention bias.

Everything here is computed in float32, whatever the dtype of the inputs is.
"""

import math

from keras import ops

from keras_stts.ops.frames import real_blocks
from keras_stts.ops.grid import block_grid
from keras_stts.ops.grid import spread_to_patches
from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.segments import fill_first_frames

RESCALE_MIN = math.exp(-2.0)


def concat_previous_frame(x, segments=None):
    """Put the previous frame's features before those of each frame.

    Args:
        x: Tensor (B, T, P, D).
        segments: Optional int tensor (B, T), see `select_blocks`.

    Returns:
        Tensor (B, T, P, 2 * D); frame 0 of a video follows a frame of zeros.

    Reference:
        STTS (arXiv 2603.18004), the scorer's input.
    """
    previous = ops.concatenate([ops.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    if segments is not None:
        previous = fill_first_frames(previous, 0.0, segments)
    return ops.concatenate([previous, x], axis=-1)


def neighbor_similarity(x, epsilon=1e-12, segments=None):
    """Cosine similarity of each block and that block in the previous frame.

    Args:
        x: Tensor (B, T, P, D), the concatenated patch vectors of each block.
        epsilon: Float. Lower bound of squared lengths, so that a zero vector
            has similarity 0 and a finite gradient.
        segments: Optional int tensor (B, T), see `select_blocks`.

    Returns:
        Float32 tensor (B, T, P) in [-1, 1]; frame 0 of a video, which has no
        previous frame, gets 0.
    """
    x = ops.cast(x, "float32")
    dots = ops.sum(x[:, 1:] * x[:, :-1], axis=-1)
    squares = ops.maximum(ops.sum(ops.square(x), axis=-1), epsilon)
    similarity = dots * ops.rsqrt(squares[:, 1:]) * ops.rsqrt(squares[:, :-1])
    first = ops.zeros_like(squares[:, :1])
    similarity = ops.concatenate([first, similarity], axis=1)
    if segments is not None:
        similarity = fill_first_frames(similarity, 0.0, segments)
    return similarity


def auxiliary_loss(
    scores,
    similarity,
    frame_mask=None,
    *,
    stop_gradient_target=False,
    segments=None,
    frame_blocks=None,
):
    """Mean squared error of the scores against the change between frames.

    Args:
        scores: Tensor (B, T, P) in (0, 1).
        similarity: Tensor (B, T, P) from `neighbor_similarity`.
        frame_mask: Optional bool tensor (B, T), False for padding frames.
        stop_gradient_target: Bool. Whether the target is a constant to the
            gradient. The published code lets the gradient through.
        segments: Optional int tensor (B, T), see `select_blocks`.
        frame_blocks: Optional int tensor (B, T), see `select_blocks`.

    Returns:
        Float32 scalar: the mean of `(score - (1 - similarity)) ** 2` over the
        blocks of all real frames but the first of each video; 0 if there are
        no such frames.

    Reference:
        STTS (arXiv 2603.18004), temporal auxiliary loss.
    """
    target = 1.0 - ops.cast(similarity, "float32")
    if stop_gradient_target:
        target = ops.stop_gradient(target)
    error = ops.square(ops.cast(scores, "float32") - target)[:, 1:]
    real = frame_pairs(scores, frame_mask, segments)[..., None]
    if frame_blocks is None:
        count = ops.sum(real) * error.shape[-1]
    else:
        own = real_blocks(error, number=frame_blocks[:, 1:])
        real = real * ops.cast(own, "float32")
        count = ops.sum(real)
    return ops.sum(error * real) / ops.maximum(count, 1.0)


def frame_pairs(scores, frame_mask=None, segments=None):
    """Which frames are real and follow another frame of the same video.

    Args:
        scores: Tensor (B, T, P).
        frame_mask: Optional bool tensor (B, T), False for padding frames.
        segments: Optional int tensor (B, T), see `select_blocks`.

    Returns:
        Float32 tensor (B, T - 1), 1 or 0 for each frame but frame 0.
    """
    real = ops.ones_like(scores[:, 1:, 0], dtype="float32")
    if frame_mask is not None:
        real = ops.cast(frame_mask, "float32")[:, 1:]
    if segments is not None:
        follows = segments[:, 1:] == segments[:, :-1]
        real = real * ops.cast(follows, "float32")
    return real


def check_rescale(axis, minimum):
    """Raise unless these are arguments of `rescale_scores`."""
    if axis not in ("row", "frame"):
        raise ValueError(
            'Scores are rescaled over a "row" or a "frame". Received: '
            f"rescale_axis={axis!r}."
        )
    if not 0 < minimum <= 1:
        raise ValueError(
            "The least rescaled score must lie in (0, 1]. Received: "
            f"rescale_min={minimum}."
        )


def rescale_scores(
    scores,
    block_rows,
    axis="row",
    minimum=RESCALE_MIN,
    segments=None,
    *,
    grids=None,
):
    """Min-max rescale scores to [minimum, 1], frame 0 to 1.

    Args:
        scores: Tensor (B, T, P), blocks in row order.
        block_rows: Int. Rows of blocks in a frame.
        axis: `"row"` (each row of a frame by itself, as the published code
            does) or `"frame"`.
        minimum: Float in (0, 1]. What the lowest score becomes. If all scores
            of a row are equal, they all become `minimum`, without gradient.
        segments: Optional int tensor (B, T), see `select_blocks`.
        grids: Optional int tensor (B, T, 2), rows and columns of the blocks
            of each frame, see `keras_stts.ops.Frames`. `block_rows` is not
            used then.

    Returns:
        Float32 tensor (B, T, P).

    Raises:
        ValueError: If `axis` or `minimum` is not one of these values.
    """
    check_rescale(axis, minimum)
    scores = ops.cast(scores, "float32")
    num_frames, num_blocks = scores.shape[1:]
    if grids is None:
        rows = block_rows if axis == "row" else 1
        x = ops.reshape(scores, (-1, num_frames, rows, num_blocks // rows))
        low = ops.amin(x, axis=-1, keepdims=True)
        high = ops.amax(x, axis=-1, keepdims=True)
    else:
        x = scores
        low, high = _extremes(x, ops.cast(grids, "int32"), axis)
    spread = high - low
    # The gradient of a constant row would be a huge number times 0.
    scale = ops.where(spread > 0, 1.0 / (spread + 1e-6), 0.0)
    x = minimum + (1.0 - minimum) * (x - low) * scale
    x = ops.reshape(x, (-1, num_frames, num_blocks))
    return fill_first_frames(x, 1.0, segments)


def _extremes(scores, grids, axis):
    """Lowest and highest score (B, T, P) of what each block is rescaled with.

    Args:
        scores: Float32 tensor (B, T, P).
        grids: Int32 tensor (B, T, 2).
        axis: `"row"` or `"frame"`.
    """
    num_frames, num_blocks = scores.shape[1:]
    number = ops.prod(grids, axis=-1)[..., None]
    size = grids[..., 1:] if axis == "row" else number
    place = ops.arange(num_blocks, dtype="int32")
    # Padding comes after all rows; what it gets does not matter.
    size = ops.where(place < number, ops.maximum(size, 1), num_blocks)
    row = place // size
    flat = (-1, num_blocks)
    scores, row, size = (ops.reshape(x, flat) for x in (scores, row, size))
    padding = ops.reshape(place >= number, flat)
    row = ops.where(padding, num_blocks, row)
    order = ops.argsort(ops.stop_gradient(scores), axis=-1)
    order = ops.cast(order, "int32")
    # Row after row, each from its lowest score to its highest.
    key = pack_blocks(row, order) * num_blocks + place
    order = pack_blocks(order, ops.cast(ops.argsort(key, axis=-1), "int32"))
    first = ops.where(padding, 0, row * size)
    last = ops.where(padding, 0, first + size - 1)
    return tuple(
        ops.reshape(
            pack_blocks(scores, pack_blocks(order, at)),
            (-1, num_frames, num_blocks),
        )
        for at in (first, last)
    )


def score_bias(
    scores, window, grid, axis="row", minimum=RESCALE_MIN, *, segments=None
):
    """Scores as a bias on the attention logits of the next layer.

    Args:
        scores: Tensor (B, T, P).
        window: Int. Side of a block in patches.
        grid: (rows, columns) of patches in a frame.
        axis: `"row"` or `"frame"`, see `rescale_scores`.
        minimum: Float, see `rescale_scores`.
        segments: Optional int tensor (B, T), see `select_blocks`.

    Returns:
        Float32 tensor (B, T, N) in [log(minimum), 0], the bias of each patch
        as a key.

    Reference:
        STTS (arXiv 2603.18004): the gradient of the language model's loss
        reaches the scorer through this bias only.
    """
    block_rows = block_grid(grid, window)[0]
    rescaled = rescale_scores(scores, block_rows, axis, minimum, segments)
    return spread_to_patches(ops.log(rescaled), window, grid)
