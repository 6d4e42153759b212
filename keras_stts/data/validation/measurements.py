"""Measurements of videos, kept in a file as they are made."""

import json
import os
import pathlib
import shutil
import tempfile
import time

from keras_stts.data.paths import Address
from keras_stts.data.validation import beam

# Seconds between two looks at what was measured.
LOOK, LOOK_AT_ADDRESS = 0.2, 10.0


class Measurements:
    """Measurements in a file, and in parts that workers write beside it.

    Attributes:
        facts: Dict of video to its measurements.
        place: Path or address of the folder of the parts.
    """

    def __init__(self, path, stamps, options):
        self.path, self.stamps = path, stamps
        self.place = path.with_name(f".{path.stem}")
        self._temporary = None
        if isinstance(path, Address) and beam.is_local(options):
            # No process of this machine has to reach what only Python does.
            self._temporary = tempfile.TemporaryDirectory()
            self.place = pathlib.Path(self._temporary.name)
        if isinstance(self.place, pathlib.Path):
            self.place = self.place.absolute()
        self.progress = None
        self.is_running = False
        self._read = {}  # Bytes of each part that were taken.
        self._lines = _whole_lines(path)
        self._unsaved, self._saved_at = 0, time.monotonic()
        self.facts = {}
        for line in map(json.loads, self._lines):
            self._learn(line)

    def _learn(self, line):
        """Whether a line says something new."""
        video, facts = line["video"], line["facts"]
        is_known = video in self.facts and "error" not in self.facts[video]
        is_this = video in self.stamps and line["stamp"] == self.stamps[video]
        # Errors of former runs are tried again.
        if (
            is_known
            or not is_this
            or not (self.is_running or "sha256" in facts)
        ):
            return False
        if self.progress is not None and video not in self.facts:
            self.progress.update()
        self.facts[video] = facts
        return True

    def add(self, text):
        """Keep a line, if it says something new."""
        if self._learn(json.loads(text)):
            self._lines.append(text)
            self._unsaved += 1

    def take_parts(self):
        """Read what workers have written since."""
        if not self.place.exists():
            return
        for part in self.place.glob("facts-*.jsonl"):
            if isinstance(part, Address):
                if part in self._read:
                    continue
                data = part.read_bytes()
            else:
                with part.open("rb") as file:
                    file.seek(self._read.get(part, 0))
                    data = file.read()
            whole = data.rfind(b"\n") + 1
            self._read[part] = self._read.get(part, 0) + whole
            for text in data[:whole].decode().splitlines():
                self.add(text)
        if isinstance(self.path, pathlib.Path):
            self.save()
        elif time.monotonic() - self._saved_at > LOOK_AT_ADDRESS:
            self.save()

    def save(self):
        """Write what is new to the file."""
        if self._unsaved:
            new = self._lines[-self._unsaved :]
            if isinstance(self.path, Address):
                self.path.write_text("\n".join(self._lines) + "\n")
            else:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.writelines(text + "\n" for text in new)
        self._unsaved, self._saved_at = 0, time.monotonic()

    def finish(self):
        """All is in the file: remove the parts."""
        self.save()
        if self._temporary is not None:
            self._temporary.cleanup()
        elif isinstance(self.place, pathlib.Path):
            shutil.rmtree(self.place, ignore_errors=True)
        elif self.place.exists():
            for path in self.place.iterdir():
                path.unlink(missing_ok=True)


def _whole_lines(path):
    """Lines of the file; a last one that a kill cut short is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data) and isinstance(path, pathlib.Path):
        os.truncate(path, whole)
    return data[:whole].decode().splitlines()
