"""Tables of videos, questions and answers."""

import functools
import os
import pathlib

from keras_stts.data.addresses import is_address
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.paths import join
from keras_stts.data.source import is_row
from keras_stts.data.tables import Damage
from keras_stts.data.tables import fail
from keras_stts.data.tables import read_table

MOST_FOLDERS = 4096  # Folders that are kept in the cache.
# Default names of columns.
COLUMNS = {
    "video": ("video", "video_path", "path", "file"),
    "prompt": ("prompt", "question"),
    "response": ("response", "answer"),
}


def read_manifest(path, folder=None, columns=None, *, on_error="raise"):
    """Read a table of videos, questions and answers.

    Args:
        path: Path, or address that fsspec reads (`gs://`, `s3://`, `hf://`),
            of a JSONL, JSON (list of objects), CSV, TSV, Parquet or TFRecord
            (of `tf.train.Example`) file. Text is UTF-8, or UTF-16 with a byte
            order mark.
        folder: Optional path or address that the paths of videos are relative
            to and must stay inside. Defaults to the table's own folder, which
            they may leave.
        columns: Optional dict of `"video"`, `"prompt"` and `"response"` to the
            names of the columns. Defaults to the first that exists of
            `video`, `video_path`, `path`, `file`; `prompt`, `question`;
            `response`, `answer`.
        on_error: What to do with a row that cannot be read: `"raise"` an
            error, or `"keep"` it as a dict of `"id"` and `"damage"`, the
            reason.

    Returns:
        List of dicts with `"id"` (from the table, or made of its name and the
        number of the row), `"video"`, `"prompt"` (a str or list of messages),
        `"response"` if there is such a column, and all other columns
        unchanged.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If it is empty, damaged, of an unknown kind or encoding,
            lacks a column, or leads out of `folder`.

    Example:

    >>> rows = read_manifest("train.jsonl", "videos")  # doctest: +SKIP
    """
    if on_error not in ("raise", "keep"):
        raise ValueError(
            '`on_error` must be "raise" or "keep". Received: '
            f"on_error={on_error!r}."
        )
    path = as_path(path)
    keep = on_error == "keep"
    rows = read_table(path, keep_damage=keep)
    whole = [row for row in rows if not isinstance(row, Damage)]
    if not rows:
        fail(path, "which has no rows. Check how it was written.")
    if not whole:
        fail(path, rows[0].reason)
    names = _column_names(path, whole, columns or {})
    place = _Place(path.parent if folder is None else folder, folder)
    result = []
    for i, row in enumerate(rows):
        name = f"{path.name}:{i + 1}"
        row = row if isinstance(row, Damage) else _row(row, name, names, place)
        if isinstance(row, Damage):
            if not keep:
                fail(path, row.reason)
            row = {"id": name, "damage": f"{str(path)!r}, {row.reason}"}
        result.append(row)
    return result


def _column_names(path, rows, columns):
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise ValueError(
            f"`columns` may name {', '.join(COLUMNS)}. Received: "
            f"{', '.join(unknown)}."
        )
    there = {name for row in rows for name in row}
    names = {}
    for role, usual in COLUMNS.items():
        wanted = (columns[role],) if role in columns else usual
        found = [name for name in wanted if name in there]
        if found:
            names[role] = found[0]
        elif role != "response" or role in columns:
            fail(
                path,
                f"which has no column {' or '.join(wanted)}, but "
                f"{', '.join(sorted(map(str, there)))}. Name it with "
                "`columns`.",
            )
    return names


def _row(row, name, names, place):
    """A row as `read_manifest` gives it, or `Damage`."""
    result = {k: v for k, v in row.items() if k not in names.values()}
    for role, column in names.items():
        result[role] = row.get(column)
    if result.get("id") in (None, ""):
        result["id"] = name
    if not isinstance(result["id"], (str, int, float)):
        kind = type(result["id"]).__name__
        return Damage(f"row {name} has an id that is a {kind}, not text.")
    try:
        result["video"] = place.of(result["video"])
    except ValueError as error:
        return Damage(f"row {name} {error}")
    return result


class _Place:
    """The folder that the paths of videos are relative to.

    Args:
        folder: Path or address.
        limit: Path or address that videos must be inside, or `None`.
    """

    def __init__(self, folder, limit):
        self.folder = as_path(folder)
        self.limit = None if limit is None else as_path(limit)
        if isinstance(self.limit, pathlib.Path):
            self.limit = os.path.realpath(self.limit)
        # Rows share few folders, so each is resolved once.
        self._real = functools.lru_cache(MOST_FOLDERS)(os.path.realpath)

    def of(self, video):
        """Path or address of a video that a row names.

        Raises:
            ValueError: If it is outside `limit`.
        """
        if is_row(video) and video.get("bytes") is None:
            video = video.get("path")
        if not isinstance(video, str) or not video:
            return video
        path = join(self.folder, video)
        self._check(video, self.limit is None or self._is_inside(path))
        return path

    def _is_inside(self, path):
        if "\0" in path:
            return True  # Not a path: it is refused later.
        if isinstance(self.limit, Address) or is_address(path):
            path = as_path(path)
            is_elsewhere = isinstance(path, Address)
            return is_elsewhere and (path / ".").is_relative_to(self.limit)
        folder, name = os.path.split(path)
        real = os.path.join(self._real(folder), name)
        if name in ("", ".", "..") or os.path.islink(real):
            real = os.path.realpath(real)
        return pathlib.Path(real).is_relative_to(self.limit)

    def _check(self, video, allowed):
        if not allowed:
            raise ValueError(
                f"names {video!r}, which leads out of folder="
                f"{str(self.folder)!r}. Put the video there, or leave `folder` "
                "out if you trust the table."
            )
