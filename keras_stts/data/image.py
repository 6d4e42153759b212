"""Images as Molmo2 takes them: a small view and overlapping crops."""

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
Tiles.__doc__ = """An image cut into crops.

Attributes:
    crops: Uint8 (C, size, size, 3): a small view of the whole image, then the
        crops.
    pooling: Int32 (M, window * window): the patches, counted over all crops,
        that each token pools; -1 for none.
    grid: Tuple of four ints: rows and columns of the tokens of the small view,
        and rows and columns of the tokens of all crops together.
"""

# Side of the block of patches that a token of an image pools.
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
        ValueError: If it cannot be read, or has more than 2**27 pixels.
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
    """Cut an image into a small view of the whole and overlapping crops.

    Args:
        image: Uint8 (H, W, 3).
        size: Int. Side of the small view and of crops in pixels.
        patch_size: Int. Side of a patch in pixels.
        window: Int. Side of the block of patches that a token pools.
        max_crops: Int. Most crops beside the small view.
        margins: Patches that crops overlap at their first and last side.

    Returns:
        `Tiles`.

    Reference:
        Molmo2 (arXiv 2601.10611); sizes as in transformers' processor.
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
    """Rows and columns of the tiles that enlarge an image the least.

    If no tiling is large enough, it is the one that shrinks the image the
    least. Ties go to fewer tiles, then to fewer rows.

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
    """For each patch of the canvas its number among the patches of crops."""
    tile_y, y = _owners(rows, side, margins)
    tile_x, x = _owners(columns, side, margins)
    tile = tile_y[:, None] * columns + tile_x
    return tile * side**2 + y[:, None] * side + x


def _owners(count, side, margins):
    """Along one axis: the tile of each patch, and its index in the tile."""
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
    """The most tokens, and the most rows of tokens, of an image.

    Returns:
        Tuple of ints (tokens, rows), of the small view and crops together.
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
