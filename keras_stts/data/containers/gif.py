"""GIF: blocks, and a byte that ends the file."""

from keras_stts.data.containers.view import View
from keras_stts.data.containers.view import damaged

EXTENSION, IMAGE, END = 0x21, 0x2C, 0x3B
# Bytes of pixels that are looked at, and that may stand behind a picture's.
MOST_CHECKED, MOST_SPARE = 2**22, 16
MOST_BITS = 12  # Bits of the longest LZW code.
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
    """Tuples (kind, begin, end) of the blocks."""
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
    """Where the size, colours and pixels of each picture begin and end."""
    for kind, start, end in _blocks(data):
        if kind == IMAGE:
            yield start + 5, end


def _colours(flags):
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(data, at):
    """The place after data that are stored in pieces of up to 255 bytes."""
    while at < len(data):
        if not data[at]:
            return at + 1
        at += 1 + data[at]
    return at


def is_strange(file):
    """Whether a GIF's pictures look damaged, though its blocks are whole.

    FFmpeg is silent about too few or too many pixels.
    """
    view = View(file)
    data, checked = view.read(0, view.size), 0
    for start, end in _pixels(data):
        checked += end - start
        if checked > MOST_CHECKED:
            break
        width, height = (
            int.from_bytes(data[i : i + 2], "little")
            for i in (start, start + 2)
        )
        table = _colours(data[start + 4])
        least, packed = data[start + 5 + table], data[start + 6 + table : end]
        if not _codes_fit(_joined(packed), least, width * height):
            return True
    return False


def _joined(data):
    """Bytes of data, without the sizes of their pieces."""
    pieces, at = [], 0
    while at < len(data):
        pieces.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(pieces)


def _codes_fit(data, least, pixels):
    """Whether LZW codes make as many pixels and end with the data."""
    clear, end = 1 << least, (1 << least) + 1
    literals = [1] * clear + [0, 0]
    lengths, width, last, total = list(literals), least + 1, None, 0
    buffer = bits = 0
    for place, byte in enumerate(data):
        buffer |= byte << bits
        bits += 8
        while bits >= width:
            code = buffer & (1 << width) - 1
            buffer >>= width
            bits -= width
            if code == clear:
                lengths, width, last = list(literals), least + 1, None
                continue
            if code == end:
                return total == pixels and len(data) - place <= MOST_SPARE
            size = len(lengths)
            if code > size or last is None and code >= clear:
                return False
            total += lengths[code] if code < size else lengths[last] + 1
            if last is not None and size < 2**MOST_BITS:
                lengths.append(lengths[last] + 1)
                width += size + 1 == 1 << width and width < MOST_BITS
            last = code
    return total >= pixels
