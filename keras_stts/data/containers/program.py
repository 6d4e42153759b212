"""MPEG program streams: packets that begin with a mark."""

from keras_stts.data.containers.view import damaged

PACK, END, FIRST_STREAM = 0xBA, 0xB9, 0xBB
SECTOR = 2048


def is_mine(start):
    return start[:4] == b"\0\0\1\xba"


def find_damage(view):
    at = 0
    while at < view.size:
        start = view.read(at, 14)
        if start[:3] != b"\0\0\1":
            at, found = _skip_padding(view, at)
            if found:
                return found
            continue
        if len(start) < 4:
            return view.beyond("a packet", at, 6)
        length = _length(start)
        if length is None:
            return damaged(at, "there is no packet")
        if at + length > view.size:
            return view.beyond("a packet", at, length)
        at += length
    return None


def has_end(view):
    """Whether the file has its end code."""
    last = view.read(max(view.size - SECTOR, 0), SECTOR)
    return last.rstrip(b"\0\xff").endswith(b"\0\0\1\xb9")


def _length(start):
    """Bytes of a packet or of a pack header; `None` if it is neither."""
    kind = start[3]
    if kind == END:
        return 4
    if kind == PACK:
        if len(start) < 5 or start[4] >> 6 != 1:
            return 12  # Of MPEG-1.
        return 14 + (start[13] & 7 if len(start) > 13 else 0)
    if kind < FIRST_STREAM:
        return None
    return 6 + int.from_bytes(start[4:6], "big")


def _skip_padding(view, at):
    """Skip zeros, which may fill a sector or the rest of the file."""
    end = min(-(-(at + 1) // SECTOR) * SECTOR, view.size)
    if view.read(at, end - at).strip(b"\0"):
        mark = view.read(at, end - at + 3).find(b"\0\0\1")
        if mark < 0 or view.read(at, mark).strip(b"\0") or mark > 64:
            return at, damaged(at, "there is no packet")
        return at + mark, None
    rest = view.read(end, 4)
    if rest and rest[:3] != b"\0\0\1" and rest.strip(b"\0"):
        return at, damaged(at, "there is no packet")
    return end, None
