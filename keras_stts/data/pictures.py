"""Image files: known formats, limited sizes, upright."""

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
    """A Pillow image that is not decoded yet.

    Raises:
        ValueError: If its header claims more than `MAX_PIXELS` pixels.
    """
    image = PIL.Image.open(file, formats=_formats())
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ValueError(
            f"it claims to have {width}x{height} pixels, more than "
            f"{MAX_PIXELS}; scale it down"
        )
    return image


@functools.cache
def _formats():
    """The `FORMATS` that the installed Pillow reads."""
    PIL.Image.init()
    return tuple(name for name in FORMATS if name in PIL.Image.OPEN)


def as_pixels(image):
    """Uint8 (H, W, 3), upright, of a Pillow image."""
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are of mode {image.mode}, without a range; convert "
            "it to 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):  # Pillow would clip at 255.
        grey = (np.asarray(image) >> 8).astype("uint8")
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


def reason_of(error):
    """The text of an error of Pillow, shortened."""
    text = str(error)
    return "unknown format" if "cannot identify" in text else text[:200]


def check_regular(source):
    """Raise unless a path is that of a regular file."""
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
