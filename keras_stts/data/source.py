"""Sources of videos and images: paths, addresses, bytes, files, rows."""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections import namedtuple

from keras_stts.data import records
from keras_stts.data.addresses import fail
from keras_stts.data.addresses import fetch
from keras_stts.data.addresses import is_address
from keras_stts.data.addresses import is_local
from keras_stts.data.addresses import is_of_this_process
from keras_stts.data.addresses import local_path
from keras_stts.data.addresses import version_of
from keras_stts.data.paths import Address

Source = namedtuple("Source", ["file", "name", "is_path"])
Source.__doc__ = """Where a video or an image comes from.

Attributes:
    file: Str path or a binary file object with cheap seeks.
    name: Name for messages.
    is_path: Bool.
"""

# Paths are not longer, and have no line breaks.
LONGEST_PATH = 4096
MEMORY = 2**26  # Largest copy in bytes that is kept in memory.


def is_media(value):
    """Whether a value holds a media file, and is not a path to one."""
    is_file = hasattr(value, "read") and hasattr(value, "seek")
    kinds = (bytes, bytearray, memoryview, Source)
    return is_file or is_row(value) or isinstance(value, kinds)


def is_row(value):
    """Whether a value is a media file of a Hugging Face dataset."""
    return isinstance(value, dict) and {"bytes", "path"} >= set(value) != set()


def as_source(source):
    """The `Source` of a media file.

    Args:
        source: Path; address (`file://`, or one that fsspec reads); name of a
            record, as in the tables of `write_shards`; the bytes of a file;
            binary file object, of which the whole content is read; or a dict
            of `"bytes"`, `"path"` or both. Bytes without zeros and line
            breaks, which any media file has, are taken for a path.

    Raises:
        ValueError: If it is none of these, or cannot be fetched.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, Address):
        source = str(source)
    if is_row(source):
        return _row_source(source)
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if isinstance(source, bytes) and _is_content(source):
        return _content_source(source)
    if hasattr(source, "read"):
        return _file_source(source)
    try:
        path = os.fsdecode(source)
    except TypeError:
        raise ValueError(
            "A video or image must be a path, an address, bytes, a binary "
            'file object, or a dict of "bytes" or "path". Received: '
            f"{type(source).__name__}."
        ) from None
    if "\0" in path:
        raise ValueError(
            f"A path must have no zeros in it. Received: {path!r}."
        )
    place = records.parse(path)
    if place is not None:
        data, name = records.read_video_record(place)
        return _content_source(data, f"{path}/{name}")
    if not is_address(path):
        return _path(path)
    if is_local(path):
        return _path(local_path(path))
    return Source(fetch(path, _copy), path, False)


def name_of(source):
    """The name of a source for messages, without opening it."""
    if isinstance(source, Source):
        return source.name
    if isinstance(source, Address):
        return str(source)
    if is_row(source):
        path, content = source.get("path"), source.get("bytes")
        return str(path) if path else name_of(content or b"")
    if isinstance(source, (bytes, bytearray, memoryview)):
        if _is_content(bytes(source)):
            return f"{len(source)} bytes"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return str(name) if name else type(source).__name__
    with contextlib.suppress(TypeError):
        return os.fsdecode(source)
    return type(source).__name__


def portable(source):
    """The same source in a form that another process can read."""
    if isinstance(source, Address):
        source = str(source)
    if is_row(source) and source.get("bytes") is None:
        source = source["path"]
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, bytes) and not _is_content(source):
        return os.fsdecode(source)
    return _read_row(source)


def reachable(source):
    """A portable source, fetched if only this process can fetch it."""
    return _read_row(source) if _is_of_this_process(source) else source


def _is_of_this_process(source):
    if not isinstance(source, str):
        return False
    place = records.parse(source)
    # array_record starts 64 threads, which reserve 1.5 GB of address space; on
    # many cores more than the limit of a decoding process, which then hangs
    # or fails.
    if place is not None and place.path.endswith(".array_record"):
        return place.kind == "video"
    is_elsewhere = is_address(source) and not is_local(source)
    return is_elsewhere and is_of_this_process(source)


def _read_row(source):
    """A row with what a source holds."""
    source = as_source(source)
    with opened(source) as file:
        return {"path": source.name, "bytes": file.read()}


def identity(source):
    """A list that changes with the content of a source.

    Raises:
        OSError: If there is no such file.
        ValueError: If it cannot be fetched.
    """
    source = portable(source)
    if isinstance(source, dict):
        return [hashlib.sha256(source["bytes"]).hexdigest()]
    place = records.parse(source)
    if place is not None:
        return [source, *identity(place.path)]
    if is_address(source) and not is_local(source):
        return [source, version_of(source)]
    path = local_path(source) if is_address(source) else source
    paths = [path]
    if os.path.isdir(path):
        paths += sorted(os.path.join(path, name) for name in os.listdir(path))
    facts = [(os.path.abspath(path), os.stat(path)) for path in paths]
    return [(path, fact.st_size, fact.st_mtime_ns) for path, fact in facts]


def _is_content(data):
    long = not data or len(data) > LONGEST_PATH
    # Characters that the content of files has, but no path.
    return long or any(mark in data for mark in (b"\0", b"\n", b"\r", b"<"))


def _content_source(data, name=None):
    return Source(io.BytesIO(data), name or f"{len(data)} bytes", False)


def _path(path):
    return Source(path, path, True)


def _row_source(row):
    data, path = row.get("bytes"), row.get("path")
    if data is not None:
        return _content_source(bytes(data), path and os.fsdecode(path))
    if path is not None:
        return as_source(path)
    raise ValueError(
        'A video or image must have "bytes" or a "path". Received: a row '
        "with neither."
    )


def _file_source(file):
    name = name_of(file)
    if isinstance(file, io.TextIOBase):
        fail(name, 'a file opened as text. Open it with mode "rb".')
    if _is_sought_cheaply(file):
        return Source(file, name, False)
    try:
        return Source(_copy(file), name, False)
    except (OSError, ValueError, TypeError, EOFError) as error:
        fail(name, f"a file object that cannot be read ({error}).", error)


def _is_sought_cheaply(file):
    """Whether a file object is in memory or a file on disk, for reading."""
    if isinstance(file, tempfile.SpooledTemporaryFile):
        return not file.closed and file.readable() and "b" in file.mode
    inner = file
    if isinstance(file, tempfile._TemporaryFileWrapper):
        inner = file.file
    if not isinstance(inner, (io.BytesIO, io.FileIO)):
        if not isinstance(inner, (io.BufferedReader, io.BufferedRandom)):
            return False
        if not isinstance(inner.raw, io.FileIO):
            return False
    return not inner.closed and inner.readable() and inner.seekable()


def _copy(file):
    """A seekable copy of the whole content of a file object."""
    place = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        place = file.tell()
        file.seek(0)
    copy = tempfile.SpooledTemporaryFile(MEMORY)
    shutil.copyfileobj(file, copy, 2**20)
    if place is not None:
        with contextlib.suppress(OSError, ValueError):
            file.seek(place)
    return copy


def rewound(source):
    """The path, or the file object at its beginning."""
    if not source.is_path:
        source.file.seek(0)
    return source.file


@contextlib.contextmanager
def opened(source):
    """Open at the beginning; afterwards the old position is restored."""
    if source.is_path:
        with open(source.file, "rb") as file:
            yield file
        return
    place = source.file.tell()
    try:
        yield rewound(source)
    finally:
        source.file.seek(place)
