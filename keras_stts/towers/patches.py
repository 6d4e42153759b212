import numpy as np
from keras import ops


def patchify(frames, patch_size):
    """Cut frames into patches.

    Args:
        frames: Tensor (B, T, H, W, C).
        patch_size: Int.

    Returns:
        Tensor (B, T, N, patch_size * patch_size * C): patches in row order,
        pixels in (row, column, channel) order.
    """
    _, num_frames, height, width, channels = frames.shape
    rows, columns = height // patch_size, width // patch_size
    shape = (-1, num_frames, rows, patch_size, columns, patch_size, channels)
    x = ops.transpose(ops.reshape(frames, shape), (0, 1, 2, 4, 3, 5, 6))
    return ops.reshape(
        x, (-1, num_frames, rows * columns, patch_size**2 * channels)
    )


def by_pixel(value, patch_size):
    """A number, or one for each value of a patch (patch_size**2 * 3,).

    Args:
        value: Number, or one for each of red, green and blue.
        patch_size: Int.
    """
    if isinstance(value, (int, float)):
        return value
    return np.tile(np.array(value, "float32"), patch_size**2)
