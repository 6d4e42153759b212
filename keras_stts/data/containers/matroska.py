"""Matroska and WebM: elements of an id and a size, some with checksums."""

import zlib

from keras_stts.data.containers.view import damaged

SEGMENT, CLUSTER, TRACKS = 0x18538067, 0x1F43B675, 0x1654AE6B
VOID, CRC = 0xEC, 0xBF
PARTS = {
    CLUSTER: "Cluster", TRACKS: "Tracks", 0x114D9B74: "SeekHead",
    0x1549A966: "Info", 0x1C53BB6B: "Cues", 0x1941A469: "Attachments",
    0x1043A770: "Chapters", 0x1254C367: "Tags", VOID: "Void", CRC: "CRC-32",
}  # fmt: skip
# Parts that consist of parts, and some within them: Seek, TrackEntry, Video,
# Audio, CuePoint, CueTrackPositions, Tag, Targets, SimpleTag.
MASTERS = {TRACKS, 0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1043A770, 0x1254C367}
INNER = {0x4DBB, 0xAE, 0xE0, 0xE1, 0xBB, 0xB7, 0x7373, 0x63C0, 0x67C8}
SIMPLE_BLOCK, GROUP, BLOCK = 0xA3, 0xA0, 0xA1
# Timestamp, Position, PrevSize, SilentTracks, EncryptedBlock.
IN_CLUSTER = {0xE7, 0xA7, 0xAB, 0x5854, 0xAF, SIMPLE_BLOCK, GROUP, VOID, CRC}
TRACK, NUMBER, TYPE, PICTURES, LACING = 0xAE, 0xD7, 0x83, 1, 6
DEEPEST = 8  # Most levels of elements.
LARGEST = 2**28  # Most bytes of an element, for its checksum.
AT_ONCE = 2**16  # Bytes of a block that are read.


def is_mine(start):
    return start[:4] == b"\x1a\x45\xdf\xa3"


def find_damage(view):
    _, at, length = _element(view.read(0, 12), 0)
    if length is None:
        return damaged(0, "there is no head")
    at += length
    while True:
        kind, head, length = _element(view.read(at, 12), 0)
        if kind == SEGMENT:
            break
        if kind not in (VOID, CRC) or length is None:
            return damaged(at, "there is no Segment")
        at += head + length
    start, end = at + head, view.size
    if length is not None:
        end = start + length
        if end > view.size:
            return view.beyond("its Segment", start, length)
    return _walk(view, start, end)


def _walk(view, at, end):
    """Find damage in the elements of a segment."""
    tracks = {}
    while at < end:
        kind, head, length = _element(view.read(at, 12), 0)
        if kind not in PARTS:
            return damaged(at, "there is no part of a Segment")
        start = at + head
        if length is None and kind != CLUSTER:
            return damaged(at, f"{PARTS[kind]} has no size")
        if length is None:
            at, found = _walk_open_cluster(view, start, end, tracks)
            if found:
                return found
            continue
        if start + length > end:
            return view.beyond(f"its {PARTS[kind]}", start, length)
        if kind != VOID and length <= LARGEST:
            found = _check(kind, view.read(start, length), start, tracks)
            if found:
                return found
        at = start + length
    return None


def _check(kind, data, start, tracks):
    """Str, what is wrong with a complete element, or `None`."""
    first, head, length = _element(data, 0)
    rest = head + 4
    if first == CRC and length == 4 and len(data) >= rest:
        if zlib.crc32(data[rest:]) != int.from_bytes(data[head:rest], "little"):
            return damaged(start, f"{PARTS[kind]} does not fit its checksum")
    if kind == TRACKS:
        tracks |= _tracks(data)
    if kind in MASTERS and not _is_nested(data):
        return damaged(start, f"{PARTS[kind]} has parts that do not fit it")
    if kind != CLUSTER:
        return None
    at = 0
    while at < len(data):
        kind, head, length = _element(data, at)
        if kind not in IN_CLUSTER or length is None:
            return damaged(start + at, "there is no part of a Cluster")
        inner = data[at + head : at + head + length]
        if len(inner) < length:
            return damaged(start + at, "a block is longer than its Cluster")
        if not _is_block(kind, inner, tracks):
            return damaged(start + at, "a block is of no track")
        at += head + length
    return None


def _is_nested(data, depth=0):
    """Whether elements fill the one that holds them."""
    at = 0
    if depth > DEEPEST:
        return False
    while at < len(data):
        kind, head, length = _element(data, at)
        if kind is None or length is None or at + head + length > len(data):
            return False
        inner = data[at + head : at + head + length]
        if kind in INNER and not _is_nested(inner, depth + 1):
            return False
        at += head + length
    return True


def _walk_open_cluster(view, at, end, tracks):
    """Tuple (end, damage) of a cluster of unknown size."""
    while at < end:
        kind, head, length = _element(view.read(at, 12), 0)
        if kind in PARTS and kind not in IN_CLUSTER:
            break
        if kind not in IN_CLUSTER or length is None:
            return at, damaged(at, "there is no part of a Cluster")
        if at + head + length > end:
            return at, view.beyond("a block", at, head + length)
        inner = view.read(at + head, min(length, AT_ONCE))
        if length < AT_ONCE and not _is_block(kind, inner, tracks):
            return at, damaged(at, "a block is of no track")
        at += head + length
    return at, None


def _is_block(kind, data, tracks):
    """Whether a block, if it is one, is of a known track."""
    if kind == GROUP:
        at, found = 0, False
        while at < len(data):
            inner, head, length = _element(data, at)
            if inner is None or length is None:
                return False
            if at + head + length > len(data):
                return False
            if inner == BLOCK:
                found = _is_block(SIMPLE_BLOCK, data[at + head :], tracks)
            at += head + length
        return found
    if kind != SIMPLE_BLOCK:
        return True
    number, after = _number(data, 0, keep_mark=False)
    if number is None or tracks and number not in tracks:
        return False
    # Frames of sound may share a block, those of a video do not.
    shared = data[after + 2] & LACING if len(data) > after + 2 else 0
    return not (shared and tracks.get(number))


def _tracks(data):
    """Dict of a track's number to whether it is of a video."""
    tracks, number, at = {}, None, 0
    while at < len(data):
        kind, head, length = _element(data, at)
        if kind is None or length is None:
            break
        if kind == TRACK:
            at += head
            continue
        value = int.from_bytes(data[at + head : at + head + length], "big")
        if kind == NUMBER:
            number = value
            tracks.setdefault(number, False)
        elif kind == TYPE:
            tracks[number] = value == PICTURES
        at += head + length
    return tracks


def _element(data, at):
    """Tuple (id, bytes of the head, bytes of the content or `None`)."""
    kind, after = _number(data, at, keep_mark=True)
    if kind is None or after - at > 4:
        return None, 0, None
    length, after = _number(data, after, keep_mark=False)
    return kind, after - at, length


def _number(data, at, keep_mark):
    """A number of variable length, and the place after it."""
    first = data[at] if at < len(data) else 0
    if not first:
        return None, at
    count = 9 - first.bit_length()
    part = data[at : at + count]
    if len(part) < count:
        return None, at
    value = int.from_bytes(part, "big")
    if not keep_mark:
        value &= (1 << 7 * count) - 1
        if value == (1 << 7 * count) - 1:
            return None, at + count
    return value, at + count
