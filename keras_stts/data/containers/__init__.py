"""Signs that a media file is truncated or damaged.

Nothing is decoded here: sizes, counters and checksums of the container show
the damage. Headers are often wrong about durations and numbers of frames, so
these are not used.
"""

from keras_stts.data.containers import boxes
from keras_stts.data.containers import flash
from keras_stts.data.containers import gif
from keras_stts.data.containers import matroska
from keras_stts.data.containers import ogg
from keras_stts.data.containers import png
from keras_stts.data.containers import program
from keras_stts.data.containers import riff
from keras_stts.data.containers import transport
from keras_stts.data.containers import windows
from keras_stts.data.containers.view import View

FORMATS = (
    boxes, matroska, riff, gif, png, flash, ogg, program, windows, transport,
)  # fmt: skip


def find_damage(file):
    """Look for signs that a file is truncated or damaged.

    Args:
        file: Binary file object.

    Returns:
        Str, the end of a sentence about the file; `None` if there is no sign.
    """
    view = View(file)
    start = view.read(0, 16)
    for kind in FORMATS:
        if kind.is_mine(start):
            return kind.find_damage(view)
    return None


def names_other_files(file):
    """Whether the frames of a movie are in another file."""
    view = View(file)
    return boxes.is_mine(view.read(0, 16)) and boxes.is_external(view)


def may_be_cut(file, stream):
    """Whether the last frame of an MPEG file may be incomplete.

    Args:
        file: Binary file object.
        stream: Int. Identifier of the video stream in an MPEG-TS.
    """
    view = View(file)
    if program.is_mine(view.read(0, 16)):
        return not program.has_end(view)
    return transport.ends_in_full_packet(view, stream)
