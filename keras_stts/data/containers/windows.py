"""ASF, the container of WMV files: packets of one size."""

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
    last = {}
    for _ in range(count):
        found = _find_in_payloads(view.read(at, size), last)
        if found:
            return damaged(at, found)
        at += size
    return None


def _find_in_payloads(packet, last):
    """Str, what is wrong with a packet, or `None`.

    Args:
        packet: Bytes.
        last: Dict of each stream to its last object: tuple (number, bytes
            read, size). Changed by each call.
    """
    take = _Numbers(packet)
    if packet[0] & 0x80:
        take.at = 1 + (packet[0] & 0xF)  # Error correction.
    flags, properties = take(1), take(1)
    length = take.of_kind(flags >> 5) or len(packet)
    take.of_kind(flags >> 1)
    padding = take.of_kind(flags >> 3)
    take(6)  # When to send it, and how long that takes.
    end = min(length, len(packet)) - padding
    many, count, kind = flags & 1, 1, 0
    if many:
        kind = take(1)
        count, kind = kind & 0x3F, kind >> 6
    for _ in range(count):
        stream = take(1) & 0x7F
        number = take.of_kind(properties >> 4)
        offset = take.of_kind(properties >> 2)
        extra = take.of_kind(properties)
        if extra == 1:  # Several whole objects: rare, and not counted.
            last.clear()
            return None
        if extra < 8 or take.at + extra > end:
            return "there is no packet"
        size = take(4)
        take.at += extra - 4
        content = take.of_kind(kind) if many else end - take.at
        take.at += content
        if take.at > end:
            return "a payload is longer than its packet"
        before = last.get(stream)
        if before is not None and not _goes_on(before, number, offset):
            return "packets are missing"
        last[stream] = (number, offset + content, size)
    return None


def _goes_on(before, number, offset):
    old, there, size = before
    if number == old:
        return offset == there
    return number == (old + 1) % 256 and offset == 0 and there == size


class _Numbers:
    """Numbers of a packet, one after the other."""

    def __init__(self, packet):
        self.packet, self.at = packet, 0

    def __call__(self, count):
        part = self.packet[self.at : self.at + count]
        self.at += count
        return int.from_bytes(part, "little")

    def of_kind(self, kind):
        """A number of 0, 1, 2 or 4 bytes."""
        return self((0, 1, 2, 4)[kind & 3])


def _properties(view, end):
    """Dict of the header's flags and of the size of packets in bytes."""
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
