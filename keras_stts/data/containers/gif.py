"""GIF: blocks, and a mark at the end."""

from keras_stts.data.containers.view import damaged

EXTENSION, IMAGE, END = 0x21, 0x2C, 0x3B
CUT = "is truncated: the mark at its end is missing."


def is_mine(start):
    return start[:3] == b"GIF"


def find_damage(view):
    data = view.read(0, view.size)
    if len(data) < 13:
        return CUT
    at = 13 + _colours(data[10])
    while at < len(data):
        kind = data[at]
        if kind == END:
            return None
        if kind == EXTENSION:
            at = _skip_blocks(data, at + 2)
        elif kind == IMAGE and at + 10 <= len(data):
            at += 11 + _colours(data[at + 9])
            at = _skip_blocks(data, at)
        elif kind == 0 and data[at + 1 : at + 2] in (b"!", b",", b";"):
            at += 1  # Some writers end a block twice.
        else:
            return damaged(at, "there is no block")
    return CUT


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
