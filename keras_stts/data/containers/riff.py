"""AVI and WebP: chunks of a type and a size."""

import re

from keras_stts.data.containers.view import damaged

# Types of chunks: streams, indices, padding, lists.
CHUNK = re.compile(rb"\d\d[\w ]{2}|ix\d\d|JUNK|LIST|idx1|rec |[A-Za-z]{4}")
LISTS = 16  # Most chunks before the frames.
DEEPEST = 3  # Most levels of lists.
SLOPPY = 16  # Bytes that the size of a RIFF may be too large by.


def is_mine(start):
    return start[:4] == b"RIFF" and start[8:12] in (b"AVI ", b"WEBP")


def find_damage(view):
    if view.read(8, 4) == b"WEBP":
        return _find_in_webp(view)
    at = 0
    while at + 12 <= view.size:
        kind, length = _head(view, at)
        if kind != b"RIFF":
            return None if at else damaged(at, "there is no RIFF")
        if at + 8 + length > view.size + SLOPPY:
            return view.beyond("its RIFF", at, length + 8)
        # A recorder that was stopped wrote no size.
        end = min(at + 8 + length, view.size) if length else view.size
        found = _walk(view, at + 12, end, [])
        if found:
            return found
        at = end + end % 2
    return None


def _walk(view, at, end, places, depth=0):
    """Find damage in the chunks of a RIFF, or of a list of frames in it.

    Args:
        view: `View`.
        at, end: Ints. Where the chunks begin and end.
        places: List that gets the place of each chunk of frames.
        depth: Int. Number of lists around these chunks.
    """
    while at + 8 <= end:
        kind, length = _head(view, at)
        if not CHUNK.fullmatch(kind):
            if CHUNK.fullmatch(view.read(at - 1, 4)):
                at -= 1  # The chunk before was not filled up.
                continue
            return damaged(at, "there is no chunk")
        if at + 8 + length > view.size:
            return view.beyond("a chunk", at, length + 8)
        if at + 8 + length > end + SLOPPY:
            return damaged(at, "a chunk is longer than its list")
        if kind == b"LIST" and view.read(at + 8, 4) in (b"movi", b"rec "):
            inner = at + 8 + length if length > 4 else end
            places.append(at + 12)
            if depth == DEEPEST:
                return damaged(at, "lists are nested too deep")
            found = _walk(view, at + 12, inner, places, depth + 1)
            if found:
                return found
            length = inner - at - 8
        elif kind == b"idx1":
            if _is_wrong(view.read(at + 8, length), places):
                return damaged(at, "the index does not fit the frames")
        else:
            places.append(at)
        at += 8 + length + length % 2
    return None


def _is_wrong(index, places):
    """Whether an index names some chunks rightly and others not."""
    starts = [
        int.from_bytes(index[i + 8 : i + 12], "little")
        for i in range(0, len(index) - 15, 16)
    ]
    known = set(places)
    # Places count from the beginning of the file or of a list of frames.
    bases = {0} | {place - 4 for place in places[:LISTS]}
    hits = max(sum(start + base in known for start in starts) for base in bases)
    rises = all(a < b for a, b in zip(starts, starts[1:]))
    return hits > len(starts) / 2 and (hits < len(starts) or not rises)


def _find_in_webp(view):
    end = 8 + _head(view, 0)[1]
    if end > view.size:
        return view.beyond("its RIFF", 0, end)
    at = 12
    while at + 8 <= end:
        kind, length = _head(view, at)
        if not re.fullmatch(rb"[A-Z0-9a-z ]{4}", kind):
            return damaged(at, "there is no chunk")
        if at + 8 + length > end:
            return view.beyond("a chunk", at, length + 8)
        at += 8 + length + length % 2
    return None


def _head(view, at):
    start = view.read(at, 8)
    return start[:4], int.from_bytes(start[4:], "little")
