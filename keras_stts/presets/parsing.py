"""Text and JSON of untrusted files."""

import json
import os

# Largest size of a text file in bytes.
LIMIT = 2**24
MAX_DEPTH = 64
AGAIN = "Download it or save it again."


def text_of(path, where, limit=LIMIT):
    """Text of a file; `where` is its name for errors."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1) if size <= limit else None
    except OSError as error:
        raise OSError(
            error.errno,
            f"{where} cannot be read ({error.strerror}). Check your access "
            "rights there.",
        ) from error
    if data is None or len(data) > limit:
        raise ValueError(
            f"A text file of a preset must have no more than {limit:,} "
            f"bytes. Received: {where}, which has {size:,}. {AGAIN}"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"A text file of a preset must be UTF-8. Received: {where}, which "
            f"is not at byte {error.start}. {AGAIN}"
        ) from error


def parse_json(text, where):
    """The dict in a JSON text; `where` is its name for errors."""
    try:
        result = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise _not_json(where, "is nested too deep") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _not_json(where, f"is not, at {place}") from error
    except _TwiceError as error:
        raise _not_json(where, str(error)) from error
    except ValueError as error:
        raise _not_json(where, "holds a number that is too long") from error
    if not isinstance(result, dict):
        kind = type(result).__name__
        raise _not_json(where, f"holds a {kind}")
    if _depth(result) > MAX_DEPTH:
        raise _not_json(where, f"is nested deeper than {MAX_DEPTH}")
    return result


def _not_json(where, reason):
    return ValueError(
        f"A file of a preset must be JSON of one object. Received: {where}, "
        f"which {reason}. {AGAIN}"
    )


class _TwiceError(ValueError):
    """A JSON object has a key twice."""


def _unique(pairs):
    result = dict(pairs)
    if len(result) < len(pairs):
        seen = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))
        raise _TwiceError(f"names {twice[:100]!r} twice")
    return result


def _depth(value):
    """How deep lists and dicts are nested."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = []
        for item in level:
            items = item.values() if isinstance(item, dict) else item
            inner += [i for i in items if isinstance(i, (dict, list))]
        level = inner
    return depth
