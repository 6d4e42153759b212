"""ASF, of which are WMV files: packets of one size."""

from keras_stts.data.containers.view import damaged

HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
BROADCAST = 1


def is_mine(start):
    return start == HEADER


def find_damage(view):
    length = int.from_bytes(view.read(16, 8), "little")
    properties = _properties(view, min(length, view.size))
    if properties is None or properties["flags"] & BROADCAST:
        return None
    while length + 24 <= view.size:
        start = view.read(length, 50)
        size = int.from_bytes(start[16:24], "little")
        if start[:16] == DATA:
            return _find_in_packets(view, length + 50, start, properties)
        if size < 24:
            return damaged(length, "there is no object")
        length += size
    return "is truncated: it has no packets."


def _find_in_packets(view, at, start, properties):
    count, size = int.from_bytes(start[40:48], "little"), properties["size"]
    if not size:
        return None
    if at + count * size > view.size:
        return view.beyond("its data", at, count * size)
    for number in range(count):
        # Each begins with flags: of error correction, or of what follows.
        if view.read(at + number * size, 3) == bytes(3):
            return damaged(at + number * size, "there is no packet")
    return None


def _properties(view, end):
    """Flags and bytes of a packet, of the header."""
    at = 30
    while at + 24 <= end:
        start = view.read(at, 104)
        length = int.from_bytes(start[16:24], "little")
        if start[:16] == PROPERTIES and len(start) == 104:
            return {
                "flags": int.from_bytes(start[88:92], "little"),
                "size": int.from_bytes(start[92:96], "little"),
            }
        if length < 24:
            return None
        at += length
    return None
