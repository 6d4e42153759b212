"""Annotation files and videos as benchmarks publish them."""

import json

from keras_stts.data.tables import read_table
from keras_stts.data.text import read_text

ENDINGS = (".mp4", ".MP4", ".mkv", ".webm", ".avi", ".mov")


def find(folder, *patterns):
    """Files that match the first pattern with matches, sorted by name.

    Raises:
        FileNotFoundError: If no file matches.
    """
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise FileNotFoundError(
        f"The folder of a benchmark must hold {' or '.join(patterns)}. "
        f"Received: folder={str(folder)!r}, which holds none. Download the "
        "annotations, and pass the folder that holds them."
    )


def rows(folder, *patterns):
    """Rows of tables (Parquet, CSV, JSON, JSONL), as dicts."""
    for path in find(folder, *patterns):
        yield from read_table(path)


def read_json(path):
    try:
        return json.loads(read_text(path, "A file of annotations"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"A file of annotations must be JSON. Received: {str(path)!r}, "
            f"which is not ({error}). Download it again."
        ) from error


def find_video(folder, *places):
    """The first place that holds a video; if none does, the first place.

    Args:
        folder: `pathlib.Path` or `Address`.
        *places: Str, relative to the folder. A place without a known ending
            may have any ending, or be a folder of images.
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
