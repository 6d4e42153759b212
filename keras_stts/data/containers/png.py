"""PNG: chunks with checksums."""

import zlib

from keras_stts.data.containers.view import damaged

LARGEST = 2**28  # Most bytes of a chunk, for its checksum.


def is_mine(start):
    return start[:8] == b"\x89PNG\r\n\x1a\n"


def find_damage(view):
    at, promised, frames = 8, None, 0
    while at + 12 <= view.size:
        start = view.read(at, 8)
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        if at + 12 + length > view.size:
            return view.beyond("a chunk", at, length + 12)
        if length <= LARGEST:
            data = view.read(at + 4, length + 8)
            if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
                return damaged(at, "a chunk does not fit its checksum")
            if kind == b"acTL":
                promised = int.from_bytes(data[4:8], "big")
        frames += kind == b"fcTL"
        if kind == b"IEND":
            if promised is not None and frames < promised:
                return f"is damaged: it has {frames} of {promised} frames."
            return None
        at += 12 + length
    return "is truncated: the mark at its end is missing."
