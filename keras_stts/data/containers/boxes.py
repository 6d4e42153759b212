"""MP4, MOV and formats like them: boxes, each of a size and a type."""

from keras_stts.data.containers.view import damaged

LONGEST_NAME = 2**16  # Bytes of the name of another file.
# Types of boxes that a file begins with.
FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
KNOWN = {
    *FIRST, b"pnot", b"uuid", b"moof", b"mfra", b"sidx", b"ssix", b"meta",
    b"emsg", b"prft", b"udta", b"PICT", b"meco", b"pdin",
}  # fmt: skip


def is_mine(start):
    return start[4:8] in FIRST


def find_damage(view):
    at, is_fragmented = 0, False
    while at < view.size:
        kind, head, length = _box(view, at, view.size)
        if kind not in KNOWN:
            # Anything may follow a movie, but nothing else its fragments.
            if is_fragmented and _is_odd(kind, head, length):
                return damaged(at, "there is no box")
            if not _is_odd(kind, head, length) and at + length <= view.size:
                at += length
                continue
            return None
        if length < head:
            return damaged(at, "there is a box shorter than its head")
        if at + length > view.size:
            return view.beyond(f"its box {kind.decode()!r}", at, length)
        if kind == b"moof":
            is_fragmented = True
            if not _is_filled(view, at + head, at + length, b"traf"):
                return damaged(at, "a fragment does not consist of boxes")
        at += length
    return None


def _is_filled(view, at, end, inner):
    """Whether boxes fill a part, and boxes fill those of type `inner`."""
    while at < end:
        kind, head, length = _box(view, at, end)
        if _is_odd(kind, head, length) or at + length > end:
            return False
        if kind == inner and not _is_filled(view, at + head, at + length, None):
            return False
        at += length
    return True


def count_in_fragments(view, track):
    """Number of a track's frames in all fragments."""
    count = 0
    for at, end in _inside(view, 0, view.size, (b"moof", b"traf")):
        heads = _inside(view, at, end, (b"tfhd",))
        if any(
            view.read(i + 4, 4) == track.to_bytes(4, "big") for i, _ in heads
        ):
            for run, _ in _inside(view, at, end, (b"trun",)):
                count += int.from_bytes(view.read(run + 4, 4), "big")
    return count


def is_external(view):
    """Whether the frames of a video track are in another file."""
    return any(
        _names_a_file(view, at, end)
        for track, track_end in _inside(view, 0, view.size, (b"moov", b"trak"))
        if _is_of_pictures(view, track, track_end)
        for at, end in _inside(
            view, track, track_end, (b"mdia", b"minf", b"dinf", b"dref")
        )
    )


def _is_odd(kind, head, length):
    return length < head or not all(32 <= byte < 127 for byte in kind)


def _box(view, at, end):
    """Type, bytes of the head, bytes of the whole box."""
    start = view.read(at, 16)
    length, kind = int.from_bytes(start[:4], "big"), start[4:8]
    if len(kind) < 4:
        return b"", 8, 0
    if length == 1 and len(start) == 16:
        return kind, 16, int.from_bytes(start[8:], "big")
    return kind, 8, length or end - at


def _inside(view, at, end, path):
    """Places (start, end) of what is in boxes of a path of types."""
    if not path:
        yield at, end
        return
    while at + 8 <= end:
        kind, head, length = _box(view, at, end)
        if length < head:
            return
        if kind == path[0]:
            inner = min(at + length, end)
            yield from _inside(view, at + head, inner, path[1:])
        at += length


def _is_of_pictures(view, at, end):
    handlers = _inside(view, at, end, (b"mdia", b"hdlr"))
    return any(view.read(start, 12)[8:] == b"vide" for start, _ in handlers)


def _names_a_file(view, at, end):
    """Whether an entry of a `dref` box is not the file itself, but a name."""
    at += 8  # Version, flags and the number of entries.
    while at + 12 <= end:
        _, head, length = _box(view, at, end)
        if length < 12:
            return False
        flags = view.read(at + 8, 4)
        name = view.read(at + 12, min(length - 12, LONGEST_NAME))
        if not flags[3] & 1 and name.strip(b"\0"):
            return True
        at += length
    return False
