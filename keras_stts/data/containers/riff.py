"""AVI and WebP: chunks of a type and a size."""

import re

from keras_stts.data.containers.view import damaged

# Of streams, indices, padding and lists.
CHUNK = re.compile(rb"\d\d[\w ]{2}|ix\d\d|JUNK|LIST|idx1|rec |[A-Za-z]{4}")
SLOPPY = 16  # Bytes that a RIFF may count too many.


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
        # Recorders that were stopped leave no size.
        end = min(at + 8 + length, view.size) if length else view.size
        found = _walk(view, at + 12, end)
        if found:
            return found
        at = end + end % 2
    return None


def _walk(view, at, end):
    """Look through the lists and chunks of a RIFF."""
    while at + 8 <= end:
        kind, length = _head(view, at)
        if not CHUNK.fullmatch(kind):
            if CHUNK.fullmatch(view.read(at - 1, 4)):
                at -= 1  # The chunk before was not filled up.
                continue
            return damaged(at, "there is no chunk")
        if kind == b"LIST" and view.read(at + 8, 4) in (b"movi", b"rec "):
            if at + 8 + length > view.size + SLOPPY:
                return view.beyond("its list of frames", at, length + 8)
            at += 12
            continue
        if at + 8 + length > end + SLOPPY:
            return view.beyond("a chunk", at, length + 8)
        at += 8 + length + length % 2
    return None


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
