"""Where patches lie in their frame, for Qwen3-VL's vision encoder.

Of static shape once the grid is padded: no graph depends on a grid's values.
"""

import numpy as np


def patch_places(height, width, *, merge_size=2):
    """Row and column of each patch, for the 2D rotary embedding.

    Args:
        height, width: Ints, patches of a frame.
        merge_size: Int. Side of a block, in patches.

    Returns:
        Int32 (height * width, 2), in the order of `cut_patches`.

    Raises:
        ValueError: If sides are no multiples of blocks.

    Example:

    >>> patch_places(2, 4)[:5].tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]
    """
    if height % merge_size or width % merge_size or min(height, width) < 1:
        raise ValueError(
            f"Sides of a frame must be multiples of merge_size={merge_size}, "
            f"in patches. Received: height={height}, width={width}."
        )
    places = np.indices((height, width), "int32").reshape(
        2,
        *(height // merge_size, merge_size),
        *(width // merge_size, merge_size),
    )
    # To block row and column, row and column in the block, which of the two.
    return places.transpose(1, 3, 2, 4, 0).reshape(-1, 2)


def interpolation(height, width, side, *, merge_size=2):
    """How learned positions are interpolated: bilinear, corners on corners.

    The position of a patch is the sum of four rows of the learned table, each
    by its weight.

    Args:
        height, width: Ints, patches of a frame.
        side: Int. The learned table has `side * side` rows.
        merge_size: Int. Side of a block, in patches.

    Returns:
        Tuple (indices, weights): int32 and float32 (height * width, 4), in
        the order of `cut_patches`.

    Raises:
        ValueError: If sides are no multiples of blocks, or `side` is not
            positive.

    Example:

    >>> indices, weights = interpolation(2, 2, 3)
    >>> indices[1].tolist(), weights[1].tolist()
    ([2, 2, 5, 5], [1.0, 0.0, 0.0, 0.0])
    """
    if side < 1:
        raise ValueError(f"`side` must be positive. Received: side={side}.")
    places = patch_places(height, width, merge_size=merge_size)
    rows, row_weights = _taps(places[:, 0], height, side)
    columns, column_weights = _taps(places[:, 1], width, side)
    indices = rows[:, :, None] * side + columns[:, None]
    weights = row_weights[:, :, None] * column_weights[:, None]
    return indices.reshape(-1, 4), weights.reshape(-1, 4)


def _taps(places, length, side):
    """The two rows of a table around each place, and their weights."""
    # float32, as in transformers.
    exact = places.astype("float32") * np.float32(side - 1)
    exact /= np.float32(max(length - 1, 1))
    before = np.floor(exact)
    share = exact - before
    taps = np.stack([before, before + 1], axis=1).astype("int32")
    weights = np.stack([1 - share, 1 - np.abs(share - 1)], axis=1)
    return np.minimum(taps, side - 1), weights
