"""Records of shards: video files, or frames that were sampled before."""

import functools
import importlib.util
import os
import re
import threading
from collections import namedtuple

import numpy as np

from keras_stts._install import how_to_install
from keras_stts.data import examples
from keras_stts.data import tfrecord
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.sampled import ResizedVideo
from keras_stts.data.sampled import size_text

RECORD = re.compile(r"(.+)#(video|frames)=(\d+)(?:@(\d+))?")
ENDINGS = {"array_record": ".array_record", "tfrecord": ".tfrecord"}
INSTALL = (
    "ArrayRecord files are read and written with array_record, which is not "
    f"installed. {how_to_install('shards')}, or write TFRecord files "
    '(format="tfrecord").'
)
# What libraries may raise for a damaged file.
BROKEN = (ValueError, IndexError, RuntimeError, OSError, KeyError)

Place = namedtuple("Place", ["path", "kind", "number", "start"])
Place.__doc__ = """Where a record is.

Attributes:
    path: Str path or address of the shard.
    kind: `"video"` or `"frames"`.
    number: Int, number of the record in the shard.
    start: Byte at which it starts in a TFRecord file, else `None`.
"""


def parse(name):
    """The `Place` that a str names, or `None`.

    Such a str is `"shards/00000-of-00002.tfrecord#video=3@48291"`.
    """
    found = isinstance(name, str) and RECORD.fullmatch(name)
    if not found:
        return None
    path, kind, number, start = found.groups()
    if not path.endswith(tuple(ENDINGS.values())):
        return None
    return Place(path, kind, int(number), None if start is None else int(start))


def name_of_place(place):
    """The str that `parse` reads."""
    start = "" if place.start is None else f"@{place.start}"
    return f"{place.path}#{place.kind}={place.number}{start}"


def is_frames(source):
    """Whether a source is a record of frames."""
    place = parse(source)
    return place is not None and place.kind == "frames"


def read_video_record(place):
    """Tuple of the bytes and the name of a video file in a record.

    Raises:
        FileNotFoundError: If there is no such shard.
        ValueError: If the record is damaged, or holds frames.
    """
    if place.kind != "video":
        raise ValueError(
            "A video must be a file. Received: "
            f"{name_of_place(place)!r}, which holds sampled frames. Read the "
            "table from which the shards were made."
        )
    record = _decoded(place, "video", "name")
    return record["video"][0], record["name"][0].decode()


def read_frames_record(place, settings):
    """The `ResizedVideo` of a record that was made with these settings.

    Args:
        place: `Place`.
        settings: Dict, see `settings_text`; or `None`, to take any.

    Raises:
        FileNotFoundError: If there is no such shard.
        ValueError: If the record is damaged, or has other settings.
    """
    record = _decoded(place, "frames", "shape", "times", "settings")
    made = record["settings"][0].decode()
    asked = made if settings is None else settings_text(settings)
    if made != asked:
        raise ValueError(
            "Frames of a shard must be those that are asked for. Received: "
            f"{name_of_place(place)!r}, made with {made}, for {asked}. Write "
            "the shards again with these settings, or read the videos."
        )
    shape = np.frombuffer(record["shape"][0], "<i8")
    frames = np.frombuffer(record["frames"][0], "uint8").reshape(shape)
    times = np.frombuffer(record["times"][0], "<f8")
    # Of the settings, which are sorted, the size is last.
    return ResizedVideo(frames, times, made.rpartition("size=")[2])


def settings_text(settings):
    """Settings of frames as text: equal settings give equal text.

    Args:
        settings: Dict of arguments of `keras_stts.data.read_video`; `None`
            counts as left out.
    """
    values = {n: value for n, value in settings.items() if value is not None}
    for name in ("max_fps", "fps"):
        if name in values:
            values[name] = float(values[name])
    if "size" in values:
        values["size"] = size_text(values["size"])
    return ", ".join(f"{name}={values[name]}" for name in sorted(values))


def video_record(data, name):
    """Bytes of a record of a video file."""
    return examples.encode({"video": [data], "name": [name.encode()]})


def frames_record(frames, times, settings, name):
    """Bytes of a record of frames uint8 (T, H, W, 3) and times (T,)."""
    return examples.encode(
        {
            "frames": [np.ascontiguousarray(frames).data.cast("B")],
            "shape": [np.array(frames.shape, "<i8").tobytes()],
            "times": [np.asarray(times, "<f8").tobytes()],
            "settings": [settings_text(settings).encode()],
            "name": [name.encode()],
        }
    )


def _decoded(place, *names):
    """Features of a record."""
    path = as_path(place.path)
    read = _read_tfrecord
    if path.suffix == ENDINGS["array_record"]:
        check_array_record(path)
        read = _read_array_record
    try:
        record = examples.decode(read(path, place))
        missing = [name for name in names if not record.get(name)]
        if missing:
            raise ValueError(f"has no {missing[0]}")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"A shard must exist. Received: {name_of_place(place)!r}, of "
            f"{place.path!r}, which does not. Check the folder."
        ) from error
    except BROKEN as error:
        raise ValueError(
            "A shard must be whole. Received: record "
            f"{place.number} of {place.path!r}, which cannot be read "
            f"({error}). Copy or write the shards again."
        ) from error
    return record


def _read_tfrecord(path, place):
    if place.start is None:
        raise ValueError("its name does not say the byte at which it starts")
    header = _range(path, place.start, tfrecord.HEADER)
    length = tfrecord.check_header(header)
    size = tfrecord.HEADER + length + tfrecord.CRC.size
    return tfrecord.unframe(_range(path, place.start, size))


def _range(path, start, size):
    if isinstance(path, Address):
        return path.read_range(start, start + size)
    with open(path, "rb") as file:
        file.seek(start)
        # A damaged length may have any value.
        left = os.fstat(file.fileno()).st_size - start
        return file.read(max(0, min(size, left)))


def check_array_record(path):
    """Raise if a path cannot be read or written by array_record."""
    if isinstance(path, Address):
        raise ValueError(
            "ArrayRecord files are read and written on this machine only. "
            f"Received: {str(path)!r}. Copy them here, or write TFRecord files "
            '(format="tfrecord").'
        )
    if importlib.util.find_spec("array_record") is None:
        raise ImportError(INSTALL)


_one_at_a_time = threading.Lock()


def _read_array_record(path, place):
    found = os.stat(path)
    with _one_at_a_time:
        reader = _reader(str(path), found.st_size, found.st_mtime_ns)
        if not 0 <= place.number < reader.num_records():
            raise ValueError(f"there are {reader.num_records()} records")
        return reader.read([place.number])[0]


@functools.lru_cache(16)
def _reader(path, size, changed):
    from array_record.python import array_record_module

    # Records are asked for one by one, so nothing is read ahead.
    options = "readahead_buffer_size:0,max_parallelism:0"
    return array_record_module.ArrayRecordReader(path, options)


class TFRecordWriter:
    """Writes records; `write` returns the byte at which each starts."""

    def __init__(self, path):
        self._context, self._size = path.open("wb"), 0
        self._file = self._context.__enter__()

    def write(self, data):
        record, start = tfrecord.frame(data), self._size
        self._file.write(record)
        self._size += len(record)
        return start

    def close(self):
        self._context.__exit__(None, None, None)


class ArrayRecordWriter:
    """Writes records; `write` returns `None`: their numbers find them."""

    def __init__(self, path):
        check_array_record(path)
        from array_record.python import array_record_module

        self._writer = array_record_module.ArrayRecordWriter(
            str(path), "group_size:1,uncompressed"
        )

    def write(self, data):
        self._writer.write(data)

    def close(self):
        self._writer.close()


WRITERS = {"array_record": ArrayRecordWriter, "tfrecord": TFRecordWriter}


def default_format():
    """`"array_record"` where it is installed, else `"tfrecord"`."""
    found = importlib.util.find_spec("array_record")
    return "tfrecord" if found is None else "array_record"
