import contextlib
import io
import os
from collections import namedtuple

Source = namedtuple("Source", ["file", "name", "is_path"])
Source.__doc__ = """Where a video or an image comes from.

Attributes:
    file: Str path or a binary file object.
    name: What to call it in messages.
    is_path: Bool.
"""


def as_source(source):
    """A `Source` of a path, of the bytes of a file, or of a file object.

    Bytes may be either: what a file holds has zeros in it, a path has none.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (bytes, bytearray)) and b"\0" in source[:4096]:
        return Source(io.BytesIO(source), f"{len(source)} bytes", False)
    if hasattr(source, "read"):
        name = getattr(source, "name", type(source).__name__)
        return Source(source, str(name), False)
    path = os.fsdecode(source)
    return Source(path, path, True)


def rewound(source):
    """The path or the file object, at its beginning."""
    if not source.is_path:
        source.file.seek(0)
    return source.file


@contextlib.contextmanager
def opened(source):
    """A file object at its beginning, which is left where it was."""
    if source.is_path:
        with open(source.file, "rb") as file:
            yield file
        return
    place = source.file.tell()
    yield rewound(source)
    source.file.seek(place)
