"""Image files: of known formats, of sizes that memory holds, upright."""

import functools
import os

import numpy as np
import PIL.Image
import PIL.ImageOps

# Formats that hold pixels. Others name files (FPX, MIC), or run a program
# (EPS).
FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO",
    "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
MAX_PIXELS = 2**27


def open_image(file):
    """An image of Pillow's that is not decoded yet.

    Raises:
        ValueError: If it says to have more than `MAX_PIXELS`.
    """
    image = PIL.Image.open(file, formats=_formats())
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ValueError(
            f"it says to have {width}x{height} pixels, more than "
            f"{MAX_PIXELS}; scale it down"
        )
    return image


@functools.cache
def _formats():
    """Those of `FORMATS` that this Pillow reads."""
    PIL.Image.init()
    return tuple(name for name in FORMATS if name in PIL.Image.OPEN)


def as_pixels(image):
    """Uint8 (H, W, 3) of an image of Pillow's, upright."""
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are of mode {image.mode}, without a range; convert "
            "it to 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):  # Pillow would cut off at 255.
        grey = (np.asarray(image) >> 8).astype("uint8")
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


def reason_of(error):
    """The text of one of Pillow's errors, short."""
    text = str(error)
    return "unknown format" if "cannot identify" in text else text[:200]


def check_regular(source):
    """Raise if a path is of no file, or of a pipe or a device."""
    if not source.is_path:
        return
    if not os.path.exists(source.file):
        raise FileNotFoundError(
            f"An image must exist. Received: {source.name!r}, which does not. "
            "Check the path."
        )
    if not os.path.isfile(source.file):
        raise ValueError(
            f"An image must be a file. Received: {source.name!r}, which is a "
            "folder, a pipe or a device."
        )
