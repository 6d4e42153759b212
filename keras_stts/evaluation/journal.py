"""Predictions on disk, safe from a kill at any moment."""

import json
import os
import uuid

from keras_stts.data.disk import replacing
from keras_stts.data.disk import writing
from keras_stts.data.locks import lock
from keras_stts.data.paths import Address
from keras_stts.data.paths import as_path
from keras_stts.training import jobs

PREDICTIONS, SETTINGS = "predictions.jsonl", "settings.json"
RESULTS, UNREADABLE = "results.json", "unreadable.json"


class Journal:
    """Predictions, kept in a folder or only in memory.

    Lines are on the disk before `append` returns. An incomplete last line, left
    by a process that was killed, is removed when the folder is opened again.
    At an address files cannot be appended to: each `append` writes a new file,
    and `close` joins them; other processes are not kept from writing there.

    Args:
        folder: Path or address, created if it is missing, or `None`.
        settings: Dict of JSON values on which the predictions depend.

    Attributes:
        entries: Dict of id to prediction.

    Raises:
        ValueError: If the folder holds predictions of other settings, is
            damaged, or is being written by another process.
    """

    def __init__(self, folder, settings):
        self.folder = None if folder is None else as_path(folder)
        self.entries = {}
        self._file = None
        if self.folder is None:
            return
        kind = _Parts if isinstance(self.folder, Address) else _File
        with writing(self.folder / PREDICTIONS):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = kind(self.folder / PREDICTIONS)
        try:
            self._lock()
            self._check_settings(json.loads(json.dumps(settings)))
            self._read()
        except BaseException:
            self._file.give_up()
            raise

    def _lock(self):
        try:
            self._file.lock()
        except BlockingIOError:
            raise ValueError(
                "One process writes to a folder of predictions. Received: "
                f"{str(self.folder)!r}, to which another one is writing. Wait "
                "for it, or choose another `output`."
            ) from None

    def _check_settings(self, settings):
        path = self.folder / SETTINGS
        if not path.exists():
            write_json(path, settings)
        found = read_json(path)
        names = sorted(set(found) | set(settings))
        other = [n for n in names if found.get(n) != settings.get(n)]
        if other:
            there = {name: found.get(name) for name in other}
            here = {name: settings.get(name) for name in other}
            raise ValueError(
                "A folder holds predictions of one model, one benchmark and "
                f"one way to ask. Received: {here} for {str(self.folder)!r}, "
                f"which holds those of {there}. Choose another `output`, or "
                "delete this folder."
            )

    def _read(self):
        for number, line in enumerate(self._file.lines(), 1):
            try:
                entry = json.loads(line)
                self.entries.setdefault(entry["id"], entry)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    "Each line of predictions must be a JSON object with an "
                    f"id. Received: line {number} of "
                    f"{str(self.folder / PREDICTIONS)!r} ({error}). Delete "
                    "the line; its question will be asked again."
                ) from error

    def append(self, entries):
        """Keep predictions, dicts with an `"id"`."""
        self.entries |= {entry["id"]: entry for entry in entries}
        if self._file is not None:
            lines = [json.dumps(e, ensure_ascii=False) + "\n" for e in entries]
            with writing(self.folder / PREDICTIONS):
                self._file.add("".join(lines).encode())

    def write(self, name, value):
        """Write JSON beside the predictions."""
        if self.folder is not None:
            write_json(self.folder / name, value)

    def close(self):
        if self._file is not None:
            with writing(self.folder / PREDICTIONS):
                self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def open_journal(folder, settings):
    """A `Journal` of a job: the first process writes, the others know of it.

    Args:
        folder, settings: See `Journal`.
    """
    journal = jobs.together(
        lambda: Journal(folder if jobs.is_first() else None, settings)
    )
    first, *_ = jobs.exchange(list(journal.entries.values()))
    journal.entries = {entry["id"]: entry for entry in first}
    return journal


class _File:
    """Lines that are added to a file of this machine."""

    def __init__(self, path):
        self._file = open(path, "ab+")

    def lock(self):
        lock(self._file)

    def lines(self):
        """All whole lines; the file is cut after the last of them."""
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break  # Cut short by a kill.
            yield line
            whole += len(line)
        self._file.truncate(whole)

    def add(self, data):
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self):
        self._file.close()

    give_up = close


class _Parts:
    """Lines at an address, where files are written whole or not at all."""

    def __init__(self, path):
        self._path = path

    def lock(self):
        """Parts have names of their own, so that no process harms another."""

    def _parts(self):
        return self._path.parent.glob(f"{self._path.stem}-*.jsonl")

    def lines(self):
        whole = [self._path] if self._path.exists() else []
        for path in whole + self._parts():
            yield from path.read_bytes().splitlines(keepends=True)

    def add(self, data):
        name = f"{self._path.stem}-{uuid.uuid4().hex}.jsonl"
        self._path.with_name(name).write_bytes(data)

    def close(self):
        parts = self._parts()
        if parts:
            self._path.write_bytes(b"".join(dict.fromkeys(self.lines())))
            for path in parts:
                path.unlink(missing_ok=True)

    def give_up(self):
        """Leave what was written."""


def read_json(path):
    """Dict of a JSON file that this module wrote.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            "Files of `evaluate` must be as it wrote them. Received: "
            f"{str(path)!r}, which is no JSON object. Delete its folder and "
            "evaluate again, or choose another `output`."
        )
    return found


def write_json(path, value):
    """Write a JSON file atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if isinstance(path, Address):
        return path.write_text(text)
    with writing(path), replacing(path) as part:
        part.write_text(text, encoding="utf-8")
