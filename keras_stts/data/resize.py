import numpy as np


def resize_frames(frames, size):
    """Resizes frames as Molmo2's processor does: bilinear, no antialiasing.

    Args:
        frames: uint8 (T, H, W, 3).
        size: int for a square, or `(h, w)`.

    Returns:
        uint8 (T, h, w, 3); `frames` itself if the size is right already.

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
            "`frames` must be uint8 (T, H, W, 3) and no side 0. Received: "
            f"frames of shape {shape} and dtype {dtype}, size={size}. Stack "
            "RGB frames of 0 to 255 and pass, say, size=378."
        )
    if size == shape[1:3]:
        return frames
    resized = np.empty((len(frames), height, width, 3), "uint8")
    for frame, target in zip(frames, resized):
        target[...] = np.rint(_lerp(_lerp(frame, width, 1), height, 0))
    return resized


def _lerp(pixels, size, axis):
    """Resizes one axis of (H, W, 3), to float32."""
    old = pixels.shape[axis]
    centre = np.arange(size, dtype="float32") + np.float32(0.5)
    centre = np.clip(centre * np.float32(old / size) - 0.5, 0, old - 1)
    before = centre.astype("int64")
    after = np.minimum(before + 1, old - 1)
    share = (centre - before.astype("float32")).reshape(-1, *[1] * (2 - axis))
    start = pixels.take(before, axis).astype("float32")
    return start + (pixels.take(after, axis) - start) * share
