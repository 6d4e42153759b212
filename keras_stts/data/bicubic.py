"""Bicubic resizing with antialiasing, bit for bit as torchvision does it."""

import functools
import math

import numpy as np

# Bits that a weight may take, with its sign.
WEIGHT_BITS = 15
MOST_PRECISION = 22
# The cubic kernel's slope, and how far it reaches, in pixels of the larger.
SLOPE, REACH = -0.5, 2.0
# So many rows are weighted at once: few, as each sees a band of all rows.
NUM_ROWS = 32


def resize_bicubic(frames, size):
    """Resizes frames as Qwen3-VL's processors do.

    Columns first, then rows; after each, pixels are rounded to uint8. Weights
    are rounded to 16 bits, as in torchvision, whose pixels these are (Pillow's
    differ).

    Args:
        frames: uint8 (T, H, W, 3).
        size: `(h, w)`.

    Returns:
        uint8 (T, h, w, 3); `frames` itself if the size is right already.

    Raises:
        ValueError: if `frames` or `size` is not as above.

    Example:

    >>> resize_bicubic(np.zeros((2, 48, 64, 3), "uint8"), (32, 96)).shape
    (2, 32, 96, 3)
    """
    shape, size = np.shape(frames), tuple(int(n) for n in size)
    dtype = getattr(frames, "dtype", type(frames))
    good = len(shape) == 4 and shape[3] == 3 and dtype == "uint8"
    if not good or len(size) != 2 or min(size + shape[1:]) < 1:
        raise ValueError(
            "`frames` must be uint8 (T, H, W, 3) and no side 0. Received: "
            f"frames of shape {shape} and dtype {dtype}, size={size}. Stack "
            "RGB frames of 0 to 255 and pass, say, size=(448, 640)."
        )
    if size == shape[1:3]:
        return frames
    rows, columns = (_bands(*pair) for pair in zip(shape[1:3], size))
    resized = np.empty((len(frames), *size, 3), "uint8")
    for frame, target in zip(frames, resized):
        pixels = np.asarray(frame).swapaxes(0, 1)
        pixels = _weighted(pixels, columns).swapaxes(0, 1)
        target[:] = _weighted(pixels, rows)
    return resized


def _weighted(pixels, bands):
    """Sums of rows, rounded: (n, m, 3) -> (sum of the bands' rows, m, 3)."""
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    # Sums are exact in float64, so in any order of adding.
    parts = [
        np.clip(weights @ flat[seen].astype("float64") + 0.5, 0, 255)
        for seen, weights in bands
    ]
    return np.concatenate(parts, dtype="uint8", casting="unsafe").reshape(
        -1, *pixels.shape[1:]
    )


@functools.lru_cache(16)
def _bands(old, new):
    """Weights of neighbouring new rows, each with the old rows they see.

    Returns:
        List of (slice of old rows, float64 (new rows, old rows)).
    """
    if old == new:
        starts = range(0, old, NUM_ROWS)
        chunks = [slice(i, min(i + NUM_ROWS, old)) for i in starts]
        return [(seen, np.eye(seen.stop - seen.start)) for seen in chunks]
    first, weights = _weights(old, new)
    bands = []
    for start in range(0, new, NUM_ROWS):
        begins = first[start : start + NUM_ROWS]
        taps = weights[start : start + NUM_ROWS]
        length = min(begins[-1] + taps.shape[1], old) - begins[0]
        band = np.zeros((len(taps), length + taps.shape[1]))
        places = (begins - begins[0])[:, None] + np.arange(taps.shape[1])
        np.put_along_axis(band, places, taps, axis=1)
        seen = slice(begins[0], begins[0] + length)
        bands.append((seen, band[:, :length]))
    return bands


def _weights(old, new):
    """First old row that each new one sees, and the weights from there on."""
    scale = old / new
    stretch = max(scale, 1.0)
    centre = scale * (np.arange(new) + 0.5)
    reach = REACH * stretch
    first = np.maximum((centre - reach + 0.5).astype("int64"), 0)
    last = np.minimum((centre + reach + 0.5).astype("int64"), old)
    place = first[:, None] + np.arange(math.ceil(reach) * 2 + 1)
    weights = _cubic((place - centre[:, None] + 0.5) / stretch)
    weights[place >= last[:, None]] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return first, _round_weights(weights)


def _cubic(x):
    """The cubic convolution kernel (Keys, 1981)."""
    x = np.abs(x)
    near = ((SLOPE + 2) * x - (SLOPE + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * SLOPE
    return np.where(x < 1, near, np.where(x < REACH, far, 0.0))


def _round_weights(weights):
    """Weights in the finest fixed point in which the largest has 16 bits."""
    precision, largest = 0, weights.max()
    while precision < MOST_PRECISION:
        if int(0.5 + largest * 2 ** (precision + 1)) >= 2**WEIGHT_BITS:
            break
        precision += 1
    scaled = weights * 2**precision
    return np.trunc(scaled + np.copysign(0.5, scaled)) / 2**precision
