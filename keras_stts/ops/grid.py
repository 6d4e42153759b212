"""Where patches lie: frames of N patches cut into P square blocks.

The shape alphabet of the whole library: B videos, T frames, N patches a
frame, P blocks a frame, g patches a block (window squared), K kept blocks of
a video, D width, S sequence length, V vocabulary.
"""

import math

import numpy as np
from keras import ops


def grid_size(num_patches, grid=None):
    """Rows and columns of a frame's patches; square unless `grid` is given.

    Rows that are `None` are as many as there are patches for.
    """
    if grid is None:
        side = math.isqrt(num_patches)
        grid = (side, side)
    rows, columns = grid
    if rows is None:
        rows = num_patches // columns
    if rows * columns != num_patches:
        raise ValueError(
            "The patches of a frame must fill a grid of rows and columns. "
            f"Received: {num_patches} patches and grid={tuple(grid)}. Pass "
            "`grid=(rows, columns)` if the frame is not square."
        )
    return rows, columns


def check_window(window):
    """Raise unless `window` can be the side of a block."""
    if window < 1:
        raise ValueError(
            "`window` is the side of a block in patches and must be at "
            f"least 1. Received: window={window}."
        )


def block_grid(grid, window):
    """Rows and columns of blocks, the last ones padded if need be."""
    check_window(window)
    return -(-grid[0] // window), -(-grid[1] // window)


def _padding(grid, window):
    """Patches to add around the grid (before, after) along each axis.

    The grid is centred; an odd patch goes after it, as in Molmo2's pooling.
    """
    pads = []
    for length, blocks in zip(grid, block_grid(grid, window)):
        total = blocks * window - length
        pads.append((total // 2, total - total // 2))
    return pads


def block_mask(grid, window):
    """Which places of a block hold a patch of the frame.

    Returns:
        NumPy bool array (P, g), all True if `window` divides the grid.
    """
    padded = np.pad(np.ones(grid, bool), _padding(grid, window))
    rows, columns = block_grid(grid, window)
    cut = padded.reshape(rows, window, columns, window)
    return cut.transpose(0, 2, 1, 3).reshape(rows * columns, window**2)


def to_blocks(x, window, grid=None):
    """Cut the patches of each frame into blocks.

    Args:
        x: Tensor (B, T, N, D), patches in row order.
        window: Int. Side of a block in patches.
        grid: Optional (rows, columns) of a frame. Defaults to a square.

    Returns:
        Tensor (B, T, P, g, D): the blocks in row order, and the patches of
        each block in row order. Where `window` does not divide the grid, it
        is padded with zeros on all sides; `block_mask` says where.
    """
    grid = grid_size(x.shape[-2], grid)
    num_frames, width = x.shape[1], x.shape[-1]
    rows, columns = block_grid(grid, window)
    if window > 1:
        x = ops.reshape(x, (-1, num_frames, *grid, width))
        pads = _padding(grid, window)
        if any(sum(pad) for pad in pads):
            x = ops.pad(x, [(0, 0), (0, 0), *pads, (0, 0)])
        x = ops.reshape(
            x, (-1, num_frames, rows, window, columns, window, width)
        )
        x = ops.transpose(x, (0, 1, 2, 4, 3, 5, 6))
    return ops.reshape(x, (-1, num_frames, rows * columns, window**2, width))


def flat_blocks(blocks):
    """Patches of each block side by side: (B, T, P, g, D) -> (B, T, P, g * D).

    Args:
        blocks: Tensor, see `to_blocks`.
    """
    *_, num_frames, num_blocks, size, width = blocks.shape
    return ops.reshape(blocks, (-1, num_frames, num_blocks, size * width))


def patches_of_blocks(index, window, grid):
    """Where the patches of blocks lie.

    Args:
        index: Int32 tensor (B, K), indices into the T * P blocks of a video.
        window: Int. Side of a block in patches.
        grid: Tuple (rows, columns) of a frame.

    Returns:
        Int32 tensor (B, K, g), indices into the T * N patches of a video, in
        the order of `to_blocks`. Where a block holds padding instead of a
        patch, the index is arbitrary.
    """
    rows, columns = block_grid(grid, window)
    (top, _), (left, _) = _padding(grid, window)
    frame, block = index // (rows * columns), index % (rows * columns)
    inside = ops.arange(window**2, dtype="int32")
    row = _place(block // columns, inside // window, window, top, grid[0])
    column = _place(block % columns, inside % window, window, left, grid[1])
    return (frame[..., None] * grid[0] + row) * grid[1] + column


def _place(block, inside, window, before, length):
    """Along one axis of the grid: (B, K) and (g,) -> (B, K, g)."""
    place = block[..., None] * window + inside - before
    return ops.clip(place, 0, length - 1)


def from_blocks(x, window, grid):
    """Undo `to_blocks`: (B, T, P, g, D) -> (B, T, N, D)."""
    if grid[0] is None:
        grid = grid_size(x.shape[2] * window**2, grid)
    num_frames, width = x.shape[1], x.shape[-1]
    if window > 1:
        rows, columns = block_grid(grid, window)
        x = ops.reshape(
            x, (-1, num_frames, rows, columns, window, window, width)
        )
        x = ops.transpose(x, (0, 1, 2, 4, 3, 5, 6))
        x = ops.reshape(
            x, (-1, num_frames, rows * window, columns * window, width)
        )
        (top, _), (left, _) = _padding(grid, window)
        x = x[:, :, top : top + grid[0], left : left + grid[1]]
    return ops.reshape(x, (-1, num_frames, grid[0] * grid[1], width))


def spread_to_patches(values, window, grid):
    """Give every patch its block's value: (B, T, P) -> (B, T, N)."""
    values = ops.expand_dims(values, (-2, -1))
    values = ops.broadcast_to(values, (*ops.shape(values)[:3], window**2, 1))
    return ops.squeeze(from_blocks(values, window, grid), -1)
