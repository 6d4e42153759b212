"""Rows of a manifest as features."""

import collections
import itertools
import json
import os

from keras_stts.data.addresses import is_address
from keras_stts.data.addresses import is_local
from keras_stts.data.addresses import local_path

# Features of a row that are measured, and their kinds.
VIDEO = {
    "video_seconds": "float",
    "video_fps": "float",
    "video_width": "int",
    "video_height": "int",
    "video_frames": "int",
    "video_brightness": "float",
    "video_bytes": "int",
}
TEXT = ("prompt", "response")
LENGTHS = {f"{name}_length": "int" for name in TEXT}
MEASURED = (*VIDEO, *LENGTHS)


class Table:
    """A manifest and the facts of its videos.

    Attributes:
        name: Str, its path as given.
        rows: List of dicts of `read_manifest`.
        facts: List of dicts, those of each row's video, or `{"error": text}`.
        features: List of dicts of name to value, those that a row has.
        kinds: Dict of name to `"int"`, `"float"` or `"bytes"`.
    """

    def __init__(self, name, rows, facts):
        self.name, self.rows = name, rows
        self.facts = [facts.get(key(row), _NO_VIDEO) for row in rows]
        features = list(map(_features, rows, self.facts))
        values = collections.defaultdict(list)
        for name, value in itertools.chain(*(f.items() for f in features)):
            values[name].append(value)
        found = {name: _kind(those) for name, those in values.items()}
        # Those of videos that can't be read are missing for a known reason.
        self.kinds = {**found, **VIDEO, **LENGTHS}
        self.features = [
            {name: _plain(value, self.kinds[name]) for name, value in f.items()}
            for f in features
        ]

    def content(self, number):
        """What tells videos apart: equal files are one."""
        facts = self.facts[number]
        return facts.get("sha256") or key(self.rows[number])

    def pairs(self, feature):
        """Set of (video, value): a video that is asked often counts once."""
        return {
            (self.content(number), features[feature])
            for number, features in enumerate(self.features)
            if feature in features
        }

    def lacking(self, feature):
        """Ids of the rows without a feature."""
        return [
            str(row["id"])
            for row, features in zip(self.rows, self.features)
            if feature not in features
        ]

    def write(self, path):
        """One JSON object a row."""
        lines = [json.dumps(features) + "\n" for features in self.features]
        path.write_text("".join(lines), encoding="utf-8")


_NO_VIDEO = {"error": "A row must have a video. Received: none."}


def key(row):
    """Absolute path or address of a row's video, or `None`."""
    video = row.get("video")
    if not _is_text(video):
        return None
    if is_address(video):
        return local_path(video) if is_local(video) else video
    return os.path.abspath(video)


def _is_text(value):
    return isinstance(value, (str, os.PathLike)) and bool(str(value).strip())


def _words(value):
    """A text, a number as text, or all texts of a conversation."""
    if isinstance(value, dict):
        value = value.get("content", value.get("text"))
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, map(_words, value)))
    return "" if value is None or value != value else str(value)


def _features(row, facts):
    features = {
        name: facts[name.removeprefix("video_")]
        for name in VIDEO
        if "error" not in facts
    }
    for name in TEXT:
        words = _words(row.get(name))
        if words.strip():
            features[f"{name}_length"] = len(words)
    if "response_length" in features:
        features["response"] = _words(row["response"])
    for name, value in row.items():
        if name in ("id", "video", *TEXT) or value is None or value == "":
            continue
        if name in MEASURED:
            raise ValueError(
                f"Columns may not be called {', '.join(MEASURED)}, as what is "
                f"measured is. Received: {name}. Rename it."
            )
        features[name] = value
    return features


def _kind(values):
    if all(isinstance(v, int) and abs(v) < 2**63 for v in values):
        return "int"
    if all(isinstance(v, (int, float)) for v in values):
        return "float"
    return "bytes"


def _plain(value, kind):
    if kind == "int":
        return int(value)
    if kind == "float":
        return float(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
