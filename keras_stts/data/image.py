"""Images as Molmo2 sees them: one small view and overlapping crops."""

import functools
import itertools
from collections import namedtuple

import numpy as np
import PIL.Image

from keras_stts.data.pictures import as_pixels
from keras_stts.data.pictures import check_regular
from keras_stts.data.pictures import open_image
from keras_stts.data.pictures import reason_of
from keras_stts.data.resize import resize_frames
from keras_stts.data.source import as_source
from keras_stts.data.source import opened

Tiles = namedtuple("Tiles", ["crops", "pooling", "grid"])
Tiles.__doc__ = """An image cut up.

Attributes:
    crops: Uint8 (C, size, size, 3): the whole image small, then its crops.
    pooling: Int32 (M, window * window): patches, counted over all crops, that
        each token pools; -1 where there is none.
    grid: Tuple of rows and columns of tokens of the small view, and rows and
        columns of those of the crops together.
"""

# Side of what a token of an image pools, in patches.
IMAGE_WINDOW = 2


def read_image(source):
    """Read an image file, upright, in RGB.

    Args:
        source: Path, address, bytes, binary file object or row of a dataset,
            see `keras_stts.data.source.as_source`; or an image of Pillow's.

    Returns:
        Uint8 (H, W, 3).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or says to have more than 2**27
            pixels.
    """
    if isinstance(source, PIL.Image.Image):
        return as_pixels(source)
    is_bytes = isinstance(source, (bytes, bytearray, memoryview))
    source = as_source(source)
    check_regular(source)
    try:
        with opened(source) as file, open_image(file) as image:
            return as_pixels(image)
    except Exception as error:
        name = "bytes" if is_bytes else repr(source.name)
        raise ValueError(
            "An image must be a file that Pillow reads. Received: "
            f"{name} ({reason_of(error)})."
        ) from error


def tile_image(
    image, size=378, patch_size=14, window=2, max_crops=8, *, margins=(4, 4)
):
    """Cut an image into a small view of all and crops that overlap.

    Args:
        image: Uint8 (H, W, 3).
        size: Int. Side of view and crops in pixels.
        patch_size: Int.
        window: Int. Side of what a token pools, in patches.
        max_crops: Int. Most crops beside the small view.
        margins: Patches that crops overlap on their first and last side.

    Returns:
        `Tiles`.

    Reference:
        Molmo2 (arXiv 2601.10611); sizes as transformers' processor has them.
    """
    side = size // patch_size
    stride = side - sum(margins)
    rows, columns = choose_tiling(
        [length - sum(margins) * patch_size for length in image.shape[:2]],
        stride * patch_size,
        max_crops,
    )
    height, width = (stride * n + sum(margins) for n in (rows, columns))
    canvas = _resize(image, (height * patch_size, width * patch_size))
    step = stride * patch_size
    crops = [_resize(image, (size, size))]
    for row, column in itertools.product(range(rows), range(columns)):
        y, x = row * step, column * step
        crops.append(canvas[y : y + size, x : x + size])
    small = np.arange(side**2).reshape(side, side)
    large = _patch_of_canvas(rows, columns, side, margins) + side**2
    views = [_windows(view, window) for view in (small, large)]
    pooling = np.concatenate([v.reshape(-1, window**2) for v in views])
    grid = (*views[0].shape[:2], *views[1].shape[:2])
    return Tiles(np.stack(crops), pooling.astype("int32"), grid)


def _resize(image, size):
    return resize_frames(image[None], size)[0]


def choose_tiling(lengths, tile, max_crops):
    """Rows and columns of tiles that enlarge an image least.

    If no tiling is large enough, the one that shrinks it least. Of equals the
    one of fewer tiles, then of fewer rows.

    Args:
        lengths: Height and width of the image without margins.
        tile: Int. Side of a tile in pixels.
        max_crops: Int.

    Returns:
        Tuple (rows, columns).
    """
    tilings = _tilings(max_crops)
    with np.errstate(divide="ignore"):
        scales = np.float32(tilings) * np.float32(tile) / np.float32(lengths)
    scales = scales.min(axis=1)
    if (scales < 1).all():
        return tilings[int(scales.argmax())]
    return tilings[int(np.where(scales < 1, np.inf, scales).argmin())]


@functools.lru_cache(64)
def _tilings(max_crops):
    if max_crops < 1:
        raise ValueError(
            "`max_crops` must be at least 1 where there are images. Received: "
            f"max_crops={max_crops}."
        )
    counts = range(1, max_crops + 1)
    pairs = itertools.product(counts, counts)
    fitting = [(r, c) for r, c in pairs if r * c <= max_crops]
    return sorted(fitting, key=lambda pair: (pair[0] * pair[1], pair[0]))


def _patch_of_canvas(rows, columns, side, margins):
    """For each patch of the canvas its number among all crops' patches."""
    tile_y, y = _owners(rows, side, margins)
    tile_x, x = _owners(columns, side, margins)
    tile = tile_y[:, None] * columns + tile_x
    return tile * side**2 + y[:, None] * side + x


def _owners(count, side, margins):
    """Along one axis: the tile that shows a patch, and where in it."""
    tiles, places = [], []
    for i in range(count):
        first = margins[0] if i else 0
        last = side - margins[1] if i < count - 1 else side
        tiles += [i] * (last - first)
        places += range(first, last)
    return np.array(tiles), np.array(places)


def _windows(grid, window):
    """(H, W) -> (rows, columns, window * window), centred, padded with -1."""
    pads = [-length % window for length in grid.shape]
    pads = [(pad // 2, pad - pad // 2) for pad in pads]
    grid = np.pad(grid, pads, constant_values=-1)
    rows, columns = (length // window for length in grid.shape)
    grid = grid.reshape(rows, window, columns, window).transpose(0, 2, 1, 3)
    return grid.reshape(rows, columns, -1)


@functools.lru_cache(64)
def largest_tiling(
    size=378, patch_size=14, window=2, max_crops=8, margins=(4, 4)
):
    """Most tokens, and most rows of them, that an image can have.

    Returns:
        Tuple of ints (tokens, rows), of both views together.
    """
    side = size // patch_size
    stride = side - sum(margins)
    small = -(-side // window)
    tokens, rows = [], []
    for tiling in _tilings(max_crops):
        height, width = (
            -(-(stride * n + sum(margins)) // window) for n in tiling
        )
        tokens.append(height * width)
        rows.append(height)
    return small**2 + max(tokens), small + max(rows)
