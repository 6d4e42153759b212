"""What in a media file shows that it is cut or damaged.

Pictures are not decoded here: sizes, counters and checksums of containers
tell. What headers say of durations and of frames is no proof, and not used.
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
    """Say what shows that a file is cut or damaged.

    Args:
        file: Binary file object.

    Returns:
        Str, the end of a sentence about the file; or `None`.
    """
    view = View(file)
    start = view.read(0, 16)
    for kind in FORMATS:
        if kind.is_mine(start):
            return kind.find_damage(view)
    return None


def names_other_files(file):
    """Whether a movie's pictures are in another file than itself."""
    view = View(file)
    return boxes.is_mine(view.read(0, 16)) and boxes.is_external(view)


def may_be_cut(file, stream):
    """Whether a frame may go on after the end of an MPEG file.

    Args:
        file: Binary file object.
        stream: Int. By which an MPEG-TS names the stream of pictures.
    """
    view = View(file)
    if program.is_mine(view.read(0, 16)):
        return not program.has_end(view)
    return transport.ends_in_full_packet(view, stream)
