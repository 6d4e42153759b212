"""Frames as patches of pixels, in the order in which Qwen3-VL merges them."""

import numpy as np


def grid_of(num_frames, height, width, *, patch_size=16, temporal_size=2):
    """Patches along time, height and width.

    Args:
        num_frames: Int. Where the last patch lacks frames, the last frame is
            repeated; so an image is one frame.
        height, width: Ints, pixels.
        patch_size: Int, pixels.
        temporal_size: Int. Frames of a patch.

    Returns:
        Tuple of ints (t, h, w).

    Example:

    >>> grid_of(5, 64, 96)
    (3, 4, 6)
    """
    return (
        -(-num_frames // temporal_size),
        height // patch_size,
        width // patch_size,
    )


def normalize(pixels, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)):
    """Pixels of 0 to 255 as the numbers that the vision encoder takes.

    Args:
        pixels: uint8 (..., 3).
        mean, std: Three numbers each, of pixels of 0 to 1.

    Returns:
        float32 (..., 3).

    Example:

    >>> normalize(np.array([[0, 255, 255]], "uint8")).tolist()
    [[-1.0, 1.0, 1.0]]
    """
    pixels = np.asarray(pixels)
    # All in float32, as in transformers: the last bits are the same. Rows are
    # taken whole, as NumPy is slow along an axis of three.
    count = pixels.shape[-2] if pixels.ndim > 1 else 1
    mean, std = (
        np.tile(np.float32(value) * np.float32(255), count)
        for value in (mean, std)
    )
    rows = pixels.reshape(-1, 3 * count).astype("float32")
    rows -= mean
    rows /= std
    return rows.reshape(pixels.shape)


def cut_patches(frames, *, patch_size=16, merge_size=2, temporal_size=2):
    """Patches of a video's frames, or of an image as one frame.

    Temporal patches come one after another. In each, blocks of `merge_size` x
    `merge_size` patches come row by row, and in each block its patches row by
    row. In a patch values are ordered by channel, frame, row, column.

    Args:
        frames: (T, H, W, 3), of any dtype: uint8, to be normalised on the
            device, or of `normalize`. The last frame is repeated until T is a
            multiple of `temporal_size`.
        patch_size: Int, pixels.
        merge_size: Int. Side of a block, in patches.
        temporal_size: Int. Frames of a patch.

    Returns:
        (t * h * w, 3 * temporal_size * patch_size**2), of the dtype of
        `frames`; `(t, h, w)` is what `grid_of` says.

    Raises:
        ValueError: If sides are no multiples of blocks, or there is no frame.

    Example:

    >>> cut_patches(np.zeros((3, 64, 96, 3), "uint8")).shape
    (48, 1536)
    """
    shape, block = np.shape(frames), patch_size * merge_size
    good = len(shape) == 4 and shape[3] == 3 and min(shape) > 0
    if not good or shape[1] % block or shape[2] % block:
        raise ValueError(
            "`frames` must be (T, H, W, 3), one or more, with sides that are "
            f"multiples of {block} pixels. Received: shape {shape}. Resize to "
            "what `image_size` or `video_size` says."
        )
    missing = -shape[0] % temporal_size
    frames = np.pad(frames, [(0, missing), (0, 0), (0, 0), (0, 0)], mode="edge")
    t, h, w = grid_of(
        *shape[:3], patch_size=patch_size, temporal_size=temporal_size
    )
    patches = frames.reshape(
        *(t, temporal_size),
        *(h // merge_size, merge_size, patch_size),
        *(w // merge_size, merge_size, patch_size),
        3,
    )
    # To time, block row and column, patch row and column in the block; then
    # channel, frame, row and column of pixels.
    patches = patches.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return patches.reshape(t * h * w, -1)
