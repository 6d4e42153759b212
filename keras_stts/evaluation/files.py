"""Annotation files and videos as benchmarks publish them."""

import json
import re

from keras_stts.data.manifest import READERS

ENDINGS = (".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov")


def find(folder, *patterns):
    """Files that match the first pattern with any, in the order of names.

    Raises:
        FileNotFoundError: If there is none.
    """
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise FileNotFoundError(
        f"The folder of a benchmark must hold {' or '.join(patterns)}. "
        f"Received: folder={str(folder)!r}, which holds none. Download the "
        "annotations, and pass the folder that they are in."
    )


def rows(folder, *patterns):
    """Rows of tables (Parquet, CSV, JSON, JSONL), as dicts."""
    for path in find(folder, *patterns):
        yield from READERS[path.suffix.lower()](path)


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"A file of annotations must be JSON. Received: {str(path)!r}, "
            f"which is not ({error}). Download it again."
        ) from error


def find_video(folder, *places):
    """The first place that holds a video, or the first, to be missed there.

    Args:
        folder: `pathlib.Path`.
        *places: Str, from the folder; what ends in no known ending may have
            any, or be a folder of images.
    """
    for place in places:
        path = folder / place
        if path.exists():
            return path
        stem = path.with_suffix("") if path.suffix in ENDINGS else path
        for ending in ENDINGS:
            found = stem.with_name(stem.name + ending)
            if found.exists():
                return found
    return folder / places[0]


def seconds(clock):
    """Seconds of a number, or of "1:02:03.5" or "1:02:03,5"."""
    if isinstance(clock, (int, float)):
        return float(clock)
    total = 0.0
    for part in str(clock).replace(",", ".").split(":"):
        total = 60 * total + float(part)
    return total


def read_srt(path):
    """Subtitles of an SRT file: a list of (start, end, text)."""
    lines = []
    text = path.read_text(encoding="utf-8-sig")
    for block in re.split(r"\n\s*\n", text.strip()):
        clock, found, words = block.partition(" --> ")
        if found:
            end, _, words = words.partition("\n")
            words = re.sub(r"<[^>]+>", "", words)
            start = clock.split("\n")[-1]
            lines.append(
                (seconds(start), seconds(end), " ".join(words.split()))
            )
    return lines


def as_subtitles(value):
    """Subtitles from JSON: a list of (start, end, text).

    Args:
        value: List of triples or of dicts with start, end and text; or a dict
            of "(start, end)" to text.
    """
    if isinstance(value, dict):
        return [
            (*map(float, re.findall(r"\d+\.?\d*", times)[:2]), text)
            for times, text in value.items()
        ]
    if value and isinstance(value[0], dict):
        value = [(line["start"], line["end"], line["text"]) for line in value]
    return [(seconds(a), seconds(b), text) for a, b, text in value]
