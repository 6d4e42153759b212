"""Ogg: pages, counted by stream, with checksums."""

import zlib

from keras_stts.data.containers.view import damaged

HEAD = 27
FIRST_PAGE = 2
TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def is_mine(start):
    return start[:4] == b"OggS"


def find_damage(view):
    at, next_page = 0, {}
    while at < view.size:
        head = view.read(at, HEAD + 255)
        if head[:4] != b"OggS"[: len(head)]:
            return damaged(at, "there is no page")
        if len(head) < HEAD or len(head) < HEAD + head[26]:
            return view.beyond("a page", at, HEAD + 1)
        length = HEAD + head[26] + sum(head[HEAD : HEAD + head[26]])
        if at + length > view.size:
            return view.beyond("a page", at, length)
        if _checksum(view.read(at, length)) != head[22:26]:
            return damaged(at, "a page does not fit its checksum")
        stream = head[14:18]
        number = int.from_bytes(head[18:22], "little")
        wanted = number if head[5] & FIRST_PAGE else next_page.get(stream)
        if wanted is not None and number != wanted:
            return damaged(at, "pages are missing")
        next_page[stream] = number + 1
        at += length
    return None


def _checksum(page):
    """CRC-32 of a page: zlib's, with the order of all bits reversed."""
    page = page[:22] + bytes(4) + page[26:]
    turned = zlib.crc32(page.translate(TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return turned.to_bytes(4, "big").translate(TURNED)
