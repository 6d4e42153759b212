"""Ogg: pages, counted by stream."""

from keras_stts.data.containers.view import damaged

HEAD = 27
FIRST_PAGE = 2


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
        stream = head[14:18]
        number = int.from_bytes(head[18:22], "little")
        wanted = number if head[5] & FIRST_PAGE else next_page.get(stream)
        if wanted is not None and number != wanted:
            return damaged(at, "pages are missing")
        next_page[stream] = number + 1
        at += length
    return None
