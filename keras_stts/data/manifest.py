"""Tables of videos, questions and answers."""

import csv
import json
import os
import pathlib

from keras_stts.data.source import is_address
from keras_stts.data.source import is_row

# What columns may be called.
COLUMNS = {
    "video": ("video", "video_path", "path", "file"),
    "prompt": ("prompt", "question"),
    "response": ("response", "answer"),
}
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".tfrecord")


def read_manifest(path, folder=None, columns=None):
    """Read a table of videos, questions and answers.

    Args:
        path: Path of a JSONL, JSON (list of objects), CSV, TSV, Parquet or
            TFRecord (of `tf.train.Example`) file.
        folder: Optional path, what videos' paths are relative to. Defaults to
            the table's own folder.
        columns: Optional dict of `"video"`, `"prompt"` and `"response"` to the
            names of the columns. Defaults to the first that is there of
            `video`, `video_path`, `path`, `file`; `prompt`, `question`;
            `response`, `answer`.

    Returns:
        List of dicts with `"id"` (its own, or table and number of the row),
        `"video"`, `"prompt"`, `"response"` if there is such a column, and all
        other columns as they are.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If it is empty, damaged, of an unknown kind, or lacks a
            column.

    Example:

    >>> rows = read_manifest("train.jsonl", "videos")  # doctest: +SKIP
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"`path` must be a table. Received: {str(path)!r}, which does not "
            "exist. Check the path."
        )
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"`path` must end in one of {', '.join(FORMATS)}. Received: "
            f"{str(path)!r}. Convert it."
        )
    rows = READERS[path.suffix.lower()](path)
    if not rows:
        _fail(path, "which has no row. Check how it was written.")
    names = _column_names(path, rows, columns or {})
    folder = path.parent if folder is None else folder
    return [_row(row, i, path, names, folder) for i, row in enumerate(rows)]


def _fail(path, what):
    raise ValueError(f"A table must be whole. Received: {str(path)!r}, {what}")


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
            _fail(
                path,
                f"which has no column {' or '.join(wanted)}, but "
                f"{', '.join(sorted(there))}. Name it with `columns`.",
            )
    return names


def _row(row, number, path, names, folder):
    result = {k: v for k, v in row.items() if k not in names.values()}
    for role, name in names.items():
        result[role] = row.get(name)
    result["video"] = _place(result["video"], folder)
    result.setdefault("id", f"{path.name}:{number + 1}")
    return result


def _place(video, folder):
    """A path relative to a folder; addresses and contents as they are."""
    if is_row(video) and video.get("bytes") is None:
        return _place(video["path"], folder)
    if isinstance(video, str) and video and not is_address(video):
        return os.path.join(folder, video)
    return video


def _read_jsonl(path):
    rows = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_parse(path, line, f"line {number}"))
    return rows


def _read_json(path):
    rows = _parse(path, path.read_text(encoding="utf-8-sig"), "which", list)
    if not all(isinstance(row, dict) for row in rows):
        _fail(path, "which is not a list of objects. Convert it.")
    return rows


def _parse(path, text, where, kind=dict):
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        _fail(path, f"{where} is not JSON ({error}). Correct it.")
    if not isinstance(value, kind):
        _fail(path, f"{where} is not a JSON {kind.__name__}. Correct it.")
    return value


def _read_csv(path):
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            rows = list(reader)
        except csv.Error as error:
            _fail(path, f"line {reader.line_num} is damaged ({error}).")
    bad = [i for i, row in enumerate(rows, 2) if None in row]
    if bad:
        _fail(path, f"line {bad[0]} has more fields than the header.")
    return rows


def _read_parquet(path):
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet is read with pyarrow. Install it with `pip install "
            "keras-stts[parquet]`."
        ) from error
    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        _fail(path, f"which is no Parquet file, or damaged ({error}).")


def _read_tfrecord(path):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "TFRecord is read with TensorFlow. Install it with `pip install "
            "keras-stts[tensorflow]`."
        ) from error
    try:
        return [
            _features(tf.train.Example.FromString(record.numpy()))
            for record in tf.data.TFRecordDataset(str(path))
        ]
    except (tf.errors.DataLossError, Exception) as error:
        _fail(path, f"which is no TFRecord of examples, or damaged ({error}).")


def _features(example):
    row = {}
    for name, feature in example.features.feature.items():
        values = list(getattr(feature, feature.WhichOneof("kind")).value)
        values = [v.decode() if isinstance(v, bytes) else v for v in values]
        row[name] = values[0] if len(values) == 1 else values
    return row


READERS = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".tfrecord": _read_tfrecord,
}
