import numpy as np

NUM_ROWS = 16


def resize_frames(frames, size):
    """Resize frames as Molmo2's processor does: bilinear, no antialiasing.

    Args:
        frames: uint8 (T, H, W, 3).
        size: int for a square, or `(h, w)`.

    Returns:
        uint8 (T, h, w, 3); `frames` itself if it has this size already.

    Raises:
        ValueError: if `frames` or `size` is not as above.

    Example:

    >>> resize_frames(np.zeros((2, 48, 64, 3), "uint8"), 378).shape
    (2, 378, 378, 3)
    """
    height, width = size = tuple(np.broadcast_to(size, 2).tolist())
    shape = np.shape(frames)
    dtype = getattr(frames, "dtype", type(frames))
    good = len(shape) == 4 and shape[3] == 3 and dtype == "uint8"
    if not good or min(size + shape[1:]) < 1:
        raise ValueError(
            "`frames` must be uint8 (T, H, W, 3) with no side of 0. Received: "
            f"frames of shape {shape} and dtype {dtype}, size={size}. Stack "
            "RGB frames of 0 to 255 and pass, say, size=378."
        )
    if size == shape[1:3]:
        return frames
    resized = np.empty((len(frames), height, width, 3), "uint8")
    rows = _neighbours(shape[1], height)
    # Columns are counted in values, three for each pixel.
    before, after, share = (
        np.repeat(x, 3) for x in _neighbours(shape[2], width)
    )
    channel = np.arange(3 * width) % 3
    columns = (3 * before + channel, 3 * after + channel, share)
    for frame, target in zip(frames, resized):
        frame = np.asarray(frame).reshape(shape[1], -1)
        _resize(frame, rows, columns, target.reshape(height, -1))
    return resized


def _neighbours(old, new):
    """Indices of the two inputs of each output, and the second's weight."""
    centre = np.arange(new, dtype="float32") + np.float32(0.5)
    centre = np.clip(centre * np.float32(old / new) - 0.5, 0, old - 1)
    before = centre.astype("int64")
    after = np.minimum(before + 1, old - 1)
    return before, after, centre - before.astype("float32")


def _resize(frame, rows, columns, target):
    """Fill the target a few rows at a time, which fit into the CPU's cache."""
    for start in range(0, len(target), NUM_ROWS):
        chosen = slice(start, start + NUM_ROWS)
        before, after, share = (x[chosen] for x in rows)
        first = frame[before].astype("float32")
        pixels = _lerp(first, frame[after].astype("float32"), share[:, None])
        before, after, share = columns
        first = pixels.take(before, axis=1)
        pixels = _lerp(first, pixels.take(after, axis=1), share)
        target[chosen] = np.rint(pixels, out=pixels)


def _lerp(first, second, share):
    """Interpolate from `first` to `second`, in the memory of `second`."""
    second -= first
    second *= share
    second += first
    return second
