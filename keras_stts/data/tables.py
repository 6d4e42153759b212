"""Rows of tables: JSONL, JSON, CSV, TSV, Parquet and TFRecord."""

import csv
import io
import json

from keras_stts._install import how_to_install
from keras_stts.data import examples
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.data.text import decoded
from keras_stts.data.text import problem
from keras_stts.data.tfrecord import RecordError
from keras_stts.data.tfrecord import read_records

DEEPEST = 100  # Deepest nesting of lists and objects.


class Damage:
    """A row that cannot be read, and why.

    Attributes:
        reason: Str.
    """

    def __init__(self, reason):
        self.reason = reason


def read_table(path, *, keep_damage=False):
    """All rows of a table.

    Args:
        path: Path or address that ends in one of `READERS`.
        keep_damage: Bool. Whether rows that cannot be read become `Damage`
            instead of raising an error.

    Returns:
        List of dicts, and of `Damage`.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If its format is unknown, or it is damaged.
        OSError: If it cannot be read.
    """
    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"`path` must be a table. Received: {str(path)!r}, which does not "
            "exist. Check the path."
        )
    if path.suffix.lower() not in READERS:
        raise ValueError(
            f"`path` must end in one of {', '.join(READERS)}. Received: "
            f"{str(path)!r}. Convert it."
        )
    if path.is_dir() and path.suffix.lower() != ".parquet":
        fail(path, "which is a folder. Name a file in it.")
    rows = []
    for row in READERS[path.suffix.lower()](path):
        if isinstance(row, Damage) and not keep_damage:
            fail(path, row.reason)
        rows.append(row)
    return rows


def fail(path, what, error=None):
    raise ValueError(
        f"A table must be whole. Received: {str(path)!r}, {what}"
    ) from error


def _read_jsonl(path):
    data = path.read_bytes()
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4] == b"\0\0\xfe\xff":
        data = _text(path, data).encode()
    for number, line in enumerate(data.split(b"\n"), 1):
        wrong = problem(line)
        if wrong:
            wrong = wrong.replace("line 1 ", f"line {number} ")
            yield Damage(wrong)
        elif line.strip():
            yield _parsed(decoded(line), f"line {number}")


def _read_json(path):
    rows = _parsed(_text(path), "which", list)
    if isinstance(rows, Damage):
        fail(path, rows.reason)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            row = Damage(
                f"where entry {number} is a {type(row).__name__}: it must be "
                "a list of objects. Convert it."
            )
        yield row


def _text(path, data=None):
    data = path.read_bytes() if data is None else data
    wrong = problem(data)
    if wrong:
        fail(path, wrong)
    return decoded(data)


def _parsed(text, where, kind=dict):
    """The value of a JSON text, or `Damage`."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        return Damage(f"{where} is nested too deep. Correct it.")
    except ValueError as error:
        return Damage(f"{where} is not JSON ({error}). Correct it.")
    if not isinstance(value, kind):
        return Damage(f"{where} is not a JSON {kind.__name__}. Correct it.")
    if kind is dict and _is_deep(value):
        return Damage(f"{where} is nested deeper than {DEEPEST}. Correct it.")
    return value


def _unique(pairs):
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the key {twice[:100]!r} twice")
    return result


def _is_deep(value):
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item
            for holder in level
            for item in (
                holder.values() if isinstance(holder, dict) else holder
            )
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


def _read_csv(path):
    data = path.read_bytes()
    wrong = problem(data)
    try:
        text = decoded(data, "surrogateescape")
    except UnicodeDecodeError as error:
        fail(path, wrong, error)
    if wrong and "UTF-16" in wrong:
        fail(path, wrong)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True
    )
    header = None
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = Damage(f"line {reader.line_num} is damaged ({error}).")
            if header is None:
                fail(path, row.reason)
            yield row
            continue
        if header is None:
            header = _header(path, fields, wrong)
        elif fields:
            yield _record(header, fields, reader.line_num, wrong)


def _header(path, fields, wrong):
    twice = sorted({name for name in fields if fields.count(name) > 1})
    if twice:
        fail(path, f"which has two columns {twice[0]!r}. Rename one.")
    if not _is_clean(fields):
        fail(path, wrong)
    return fields


def _record(header, fields, line, wrong):
    if len(fields) > len(header):
        return Damage(f"line {line} has more fields than the header.")
    if not _is_clean(fields):
        return Damage(f"line {line} is not UTF-8 text; {wrong}")
    fields = fields + [None] * (len(header) - len(fields))
    return dict(zip(header, fields))


def _is_clean(fields):
    """Whether all their bytes were text."""
    return not any(
        c == "\0" or "\udc80" <= c <= "\udcff" for f in fields for c in f
    )


def _read_parquet(path):
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet is read with pyarrow, which is not installed. "
            f"{how_to_install('parquet')}, or `pip install pyarrow`."
        ) from error
    try:
        table = _parquet_table(path, pyarrow.parquet.read_table)
    except Exception as error:  # Arrow raises many classes.
        fail(path, f"which is not Parquet, or is damaged ({error}).", error)
    names = table.column_names
    if len(set(names)) < len(names):
        fail(path, "which has two columns of the same name. Rename one.")
    try:
        yield from table.to_pylist()
    except Exception:
        for number in range(table.num_rows):
            try:
                yield table.slice(number, 1).to_pylist()[0]
            except Exception as error:
                yield Damage(
                    f"row {number + 1} cannot be read "
                    f"({type(error).__name__}: {error}). Correct it."
                )


def _parquet_table(path, read):
    if not isinstance(path, Address):
        return read(path)
    with path.system() as (system, place):
        return read(place, filesystem=system)


def _read_tfrecord(path):
    with path.open("rb") as file:
        yield from _examples(path, read_records(file))


def _examples(path, records):
    number = 0
    while True:
        number += 1
        try:
            record = next(records)
        except StopIteration:
            return
        except RecordError as error:
            what = "which is no TFRecord of examples, or damaged"
            if number == 1:
                fail(path, f"{what} (a record {error}).", error)
            yield Damage(
                f"{what} from record {number} on, which with all after it "
                f"cannot be read (it {error})."
            )
            return
        try:
            yield _features(examples.decode(record))
        except ValueError as error:
            yield Damage(
                f"which is no TFRecord of examples, or damaged: record "
                f"{number} cannot be read ({type(error).__name__}: {error})."
            )


def _features(example):
    row = {}
    for name, values in example.items():
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
