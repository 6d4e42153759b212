"""MPEG-TS: packets of one size, with a counter for each stream."""

import numpy as np

from keras_stts.data.containers.view import damaged

SYNC = 0x47
SIZES = (188, 192, 204)
TABLE, NO_STREAM = 0, 0x1FFF
FIRST_BYTES, MARKS = 2**12, 8
# Packets before and after the first table of a file until all streams began.
FEW, NEAR = 8, 64
PACKETS = 2**15  # Packets that are read at once.


def is_mine(start):
    return True  # Asked last: `find_damage` looks for packets.


def find_damage(view):
    size, at = _layout(view)
    if size is None:
        return None
    before = size - 188 if size == 192 else 0
    last = {}
    while at < view.size:
        data = view.read(at, size * PACKETS)
        count = len(data) // size
        packets = np.frombuffer(data, "uint8", count * size)
        packets = packets.reshape(count, size)[:, before : before + 188]
        lost = np.flatnonzero(packets[:, 0] != SYNC)
        if len(lost):
            return damaged(at + int(lost[0]) * size, "there is no packet")
        wrong = _find_jump(packets, last)
        if wrong is not None:
            return damaged(at + wrong * size, "packets are missing")
        at += count * size
        if len(data) % size:
            return view.beyond("a packet", at, size)
    if ends_in_a_frame(view):
        return "is truncated: its last packets are those of half a frame."
    return None


def _layout(view):
    """Tuple (bytes of a packet, place of the first); (`None`, 0) if none."""
    start = np.frombuffer(view.read(0, FIRST_BYTES), "uint8") == SYNC
    for size in SIZES:
        count = min(MARKS, view.size // size)
        if count < 2:
            continue
        for first in np.flatnonzero(start[:size]).tolist():
            if start[first::size][:count].all():
                return size, first - 4 if size == 192 else first
    return None, 0


def _find_jump(packets, last):
    """The first packet before which others of its stream are missing.

    Args:
        packets: Uint8 (n, 188).
        last: Dict of streams to (counter, whether it came twice), kept from
            call to call.
    """
    stream = (packets[:, 1] & 0x1F).astype(int) << 8 | packets[:, 2]
    begins = packets[:, 1] & 0x40 != 0
    has_more = packets[:, 3] & 0x20 != 0
    has_data = packets[:, 3] & 0x10 != 0
    counter = (packets[:, 3] & 0xF).astype(int)
    allowed = has_more & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 != 0)
    jumps, restarts = [], []
    for one in np.unique(stream):
        places = np.flatnonzero((stream == one) & has_data)
        if one == NO_STREAM or not len(places):
            continue
        counts = counter[places]
        before = np.concatenate([[last.get(one, counts[0] - 1)], counts[:-1]])
        steps = (counts - before) % 16
        last[one] = int(counts[-1])
        # A packet may come twice.
        bad = places[(steps > 1) & ~allowed[places]].tolist()
        jumps += [(place, bool(begins[place])) for place in bad]
        if one == TABLE:
            restarts = [*bad, *places[counts == 0].tolist()]
    for place, is_begin in sorted(jumps):
        if not is_begin or not _is_joint(place, restarts):
            return place
    return None


def _is_joint(place, restarts):
    """Whether two files were joined near a packet."""
    return any(-FEW <= place - start <= NEAR for start in restarts)


def ends_in_full_packet(view, stream):
    """Whether data fill the last packet of a stream, without padding."""
    mine = [packet for name, packet in _last_packets(view) if name == stream]
    return bool(mine) and mine[-1][3] & 0x20 == 0


def ends_in_a_frame(view):
    """Whether the last frame of a stream is shorter than its header says."""
    promised, there = {}, {}
    for name, packet in _last_packets(view):
        more = packet[3] & 0x20
        data = packet[5 + packet[4] if more else 4 :] if packet[3] & 16 else b""
        if packet[1] & 0x40 and data[:3] == b"\0\0\1":
            length = int.from_bytes(data[4:6], "big")
            promised[name] = length and length + 6
            there[name] = 0
        if name in there:
            there[name] += len(data)
    return any(there[name] < promised[name] for name in promised)


def _last_packets(view):
    """Tuples (stream, bytes) of the packets at the end of a file."""
    size, first = _layout(view)
    if size is None:
        return []
    before = size - 188 if size == 192 else 0
    count = (view.size - first) // size
    at = first + max(count - PACKETS, 0) * size
    data = view.read(at, size * PACKETS)
    packets = [
        data[i + before : i + before + 188]
        for i in range(0, len(data) - size + 1, size)
    ]
    return [((one[1] & 0x1F) << 8 | one[2], one) for one in packets]
