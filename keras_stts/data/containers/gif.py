"""GIF: blocks, and a mark at the end."""

import PIL.Image
import PIL.ImageSequence

from keras_stts.data.containers.view import View
from keras_stts.data.containers.view import damaged

EXTENSION, IMAGE, END = 0x21, 0x2C, 0x3B
ZEROS = bytes(24)
CUT = "is truncated: the mark at its end is missing."


def is_mine(start):
    return start[:3] == b"GIF"


def find_damage(view):
    data = view.read(0, view.size)
    for kind, at, _ in _blocks(data):
        if kind == END:
            return None
        if kind is None:
            return damaged(at, "there is no block")
    return CUT


def _blocks(data):
    """Kind of each block, where it is, and where it ends."""
    if len(data) < 13:
        return
    at = 13 + _colours(data[10])
    while at < len(data):
        kind, start = data[at], at
        if kind == EXTENSION:
            at = _skip_blocks(data, at + 2)
        elif kind == IMAGE and at + 10 <= len(data):
            at = _skip_blocks(data, at + 11 + _colours(data[at + 9]))
        elif kind == 0 and data[at + 1 : at + 2] in (b"!", b",", b";"):
            at += 1  # Some writers end a block twice.
        else:
            yield kind if kind == END else None, at, at + 1
            return
        yield kind, start, at


def _pixels(data):
    """Where the pixels of each picture begin and end."""
    for kind, start, end in _blocks(data):
        if kind == IMAGE:
            yield start + 11 + _colours(data[start + 9]), end


def _colours(flags):
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(data, at):
    """The place behind data in pieces of up to 255 bytes."""
    while at < len(data):
        if not data[at]:
            return at + 1
        at += 1 + data[at]
    return at


def is_strange(file):
    """Whether a GIF's pictures look damaged, though its blocks are whole.

    Pillow is stricter than FFmpeg; and packed pixels hold no rows of zeros.
    """
    view = View(file)
    data = view.read(0, view.size)
    if any(ZEROS in data[start:end] for start, end in _pixels(data)):
        return True
    file.seek(0)
    try:
        with PIL.Image.open(file, formats=["GIF"]) as image:
            for frame in PIL.ImageSequence.Iterator(image):
                frame.load()
    except Exception:  # Pillow's are of many kinds.
        return True
    return False
