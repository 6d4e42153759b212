"""Files of a preset, found by name and read with limits.

A name leads nowhere but into the folder or repository that the user named, and
what is read there is small enough and well-formed, or an error says which file
is not.
"""

import json
import os
import pathlib

from keras_stts import _hub_compat as hub

# Bytes of a text file, and of those that hold a vocabulary.
LIMIT = 2**24
VOCABULARY_LIMIT = 2**27
VOCABULARIES = {
    "added_tokens.json",
    "merges.txt",
    "tokenizer.json",
    "vocab.json",
    "vocabulary.json",
}
MAX_DEPTH = 64
AGAIN = "Download it or save it again."


def find(preset, name):
    """Path of a file of a preset, which is fetched if need be.

    Args:
        preset: Str. Handle or directory.
        name: Str. Path inside of it, with slashes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name or a symbolic link leads out of the preset, or
            to something that is no regular file.
    """
    preset = os.fspath(preset)
    check_name(name, preset)
    if "://" in preset:
        return hub.get_file(preset, name)
    path = os.path.join(preset, name)
    _check_place(path, preset, name)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"A preset must hold all of its files. Received: {preset} without "
            f"{name}. {AGAIN}"
        )
    if not os.path.isfile(path):
        raise ValueError(
            "What a preset holds must be regular files. Received: "
            f"{name} of {preset}, which is none. {AGAIN}"
        )
    return path


def has(preset, name):
    """Whether a preset holds a file; see `find`."""
    try:
        find(preset, name)
    except FileNotFoundError:
        return False
    return True


def check_name(name, where):
    """Raise if a file's name leads out of the folder that it is for.

    Args:
        name: What should be a relative path with slashes.
        where: Str, for the error: what names the file.
    """
    good = isinstance(name, str) and 0 < len(name) < 1024
    good = good and name.isprintable() and not set(name) & set("\\:")
    # Windows leaves out dots and spaces at the end of a name.
    if not good or not all(part.strip(" .") for part in name.split("/")):
        raise ValueError(
            "A file of a preset must lie in its folder: its name must be a "
            "relative path without `..`, backslash or colon. Received: "
            f"{str(name)[:200]!r} in {where}. Do not load what you do not "
            "trust."
        )


def _check_place(path, preset, name):
    target = os.path.realpath(path)
    folder = os.path.realpath(preset)
    allowed = [folder, *_blobs(folder)]
    if not any(pathlib.Path(target).is_relative_to(root) for root in allowed):
        raise ValueError(
            "A symbolic link in a preset must not leave its folder (but for "
            "those of Hugging Face's cache). Received: "
            f"{name} of {preset}, which leads elsewhere. Put the file itself "
            "there if you trust it."
        )


def _blobs(folder):
    """Where the links of Hugging Face's cache lead, if the folder is in it."""
    for parent in pathlib.Path(folder).parents:
        if parent.name == "snapshots":
            return [parent.parent / "blobs"]
    return []


def read_text(preset, name):
    """Text of a file of a preset.

    Raises:
        FileNotFoundError: See `find`.
        ValueError: See `find`; or if the file is too large or no UTF-8.
        OSError: If it cannot be read.
    """
    path = find(preset, name)
    where = f"{name} of {preset}"
    is_vocabulary = os.path.basename(name) in VOCABULARIES
    return text_of(path, where, VOCABULARY_LIMIT if is_vocabulary else LIMIT)


def text_of(path, where, limit=LIMIT):
    """Text of a file; `where` is what errors call it."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1) if size <= limit else None
    except OSError as error:
        raise OSError(
            error.errno,
            f"{where} cannot be read ({error.strerror}). Check the rights "
            "that you have there.",
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


def read_json(preset, name):
    """Dict that a JSON file of a preset holds.

    Raises:
        FileNotFoundError: See `find`.
        ValueError: See `read_text`; or if it is no JSON, no object, nested
            too deep, or names a key twice.
    """
    return parse_json(read_text(preset, name), f"{name} of {preset}")


def parse_json(text, where):
    """Dict that a JSON text holds; `where` is what errors call it."""
    try:
        result = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise _not_json(where, "is nested too deep") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _not_json(where, f"is not, at {place}") from error
    except ValueError as error:
        raise _not_json(where, str(error)) from error
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


def _unique(pairs):
    result = dict(pairs)
    if len(result) < len(pairs):
        seen = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))
        raise ValueError(f"names {twice[:100]!r} twice")
    return result


def _depth(value):
    """How deep lists and dicts lie in each other."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = []
        for item in level:
            items = item.values() if isinstance(item, dict) else item
            inner += [i for i in items if isinstance(i, (dict, list))]
        level = inner
    return depth
