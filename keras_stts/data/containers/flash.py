"""FLV: tags, each followed by its size."""

from keras_stts.data.containers.view import damaged

KINDS = (8, 9, 18)  # Sound, pictures, data.


def is_mine(start):
    return start[:3] == b"FLV"


def find_damage(view):
    at = int.from_bytes(view.read(5, 4), "big") + 4
    while at < view.size:
        head = view.read(at, 11)
        if len(head) < 11:
            return view.beyond("a tag", at, 11)
        if head[0] & 0x1F not in KINDS:
            return damaged(at, "there is no tag")
        length = 11 + int.from_bytes(head[1:4], "big")
        if at + length > view.size:
            return view.beyond("a tag", at, length)
        size = int.from_bytes(view.read(at + length, 4), "big")
        # Some writers leave the size out, or do not count the head.
        if size not in (length, length - 11, 0):
            return damaged(at, "a tag is not of the size that follows it")
        at += length + 4
    return None
