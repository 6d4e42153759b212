"""The scores of blocks: neighbours in time, loss and attention bias.

Everything here is computed in float32, whatever the dtype of the inputs is.
"""

import math

from keras import ops

from keras_stts.ops.grid import block_grid
from keras_stts.ops.grid import spread_to_patches
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
    stop_gradient_target=False,
    segments=None,
):
    """Mean squared error of the scores against the change between frames.

    Args:
        scores: Tensor (B, T, P) in (0, 1).
        similarity: Tensor (B, T, P) from `neighbor_similarity`.
        frame_mask: Optional bool tensor (B, T), False for padding frames.
        stop_gradient_target: Bool. Whether the target is a constant to the
            gradient. The published code lets the gradient through.
        segments: Optional int tensor (B, T), see `select_blocks`.

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
    count = ops.sum(real) * error.shape[-1]
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
    scores, block_rows, axis="row", minimum=RESCALE_MIN, segments=None
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

    Returns:
        Float32 tensor (B, T, P).

    Raises:
        ValueError: If `axis` or `minimum` is not one of these values.
    """
    check_rescale(axis, minimum)
    scores = ops.cast(scores, "float32")
    num_frames, num_blocks = scores.shape[1:]
    rows = block_rows if axis == "row" else 1
    x = ops.reshape(scores, (-1, num_frames, rows, num_blocks // rows))
    low = ops.amin(x, axis=-1, keepdims=True)
    high = ops.amax(x, axis=-1, keepdims=True)
    spread = high - low
    # The gradient of a constant row would be a huge number times 0.
    scale = ops.where(spread > 0, 1.0 / (spread + 1e-6), 0.0)
    x = minimum + (1.0 - minimum) * (x - low) * scale
    x = ops.reshape(x, (-1, num_frames, num_blocks))
    return fill_first_frames(x, 1.0, segments)


def score_bias(
    scores, window, grid, axis="row", minimum=RESCALE_MIN, segments=None
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
