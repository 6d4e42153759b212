"""Predictions on disk, safe from a kill at any moment."""

import json
import os
import pathlib

from keras_stts.data.disk import writing
from keras_stts.data.locks import lock
from keras_stts.datasets._shapes_files import replace_when_done

PREDICTIONS, SETTINGS = "predictions.jsonl", "settings.json"
RESULTS, UNREADABLE = "results.json", "unreadable.json"


class Journal:
    """Predictions that were made, in a folder; or in memory alone.

    Lines are on the disk before `append` returns. What a kill left of a last
    line is cut off when the folder is opened again.

    Args:
        folder: Path, made if need be, or `None`.
        settings: Dict that JSON can hold: what predictions depend on.

    Attributes:
        entries: Dict of id to prediction.

    Raises:
        ValueError: If the folder holds predictions of other settings, is
            damaged, or is being written by another process.
    """

    def __init__(self, folder, settings):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.entries = {}
        self._file = None
        if self.folder is None:
            return
        with writing(self.folder / PREDICTIONS):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / PREDICTIONS, "ab+")
        try:
            self._lock()
            self._check_settings(json.loads(json.dumps(settings)))
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _lock(self):
        try:
            lock(self._file)
        except BlockingIOError:
            raise ValueError(
                "One process writes to a folder of predictions. Received: "
                f"{str(self.folder)!r}, to which another one writes. Wait for "
                "it, or choose another `output`."
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
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break  # Cut short by a kill.
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
            whole += len(line)
        self._file.truncate(whole)

    def append(self, entries):
        """Keep predictions, dicts with an `"id"`."""
        self.entries |= {entry["id"]: entry for entry in entries}
        if self._file is not None:
            lines = [json.dumps(e, ensure_ascii=False) + "\n" for e in entries]
            with writing(self.folder / PREDICTIONS):
                self._file.write("".join(lines).encode())
                self._file.flush()
                os.fsync(self._file.fileno())

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
            "What `evaluate` wrote must be whole. Received: "
            f"{str(path)!r}, which is no JSON object. Delete its folder and "
            "evaluate again, or choose another `output`."
        )
    return found


def write_json(path, value):
    """Write a JSON file that is whole or not there."""
    with writing(path), replace_when_done(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
