"""Files of a preset, found by name and read with limits.

A file's name cannot lead out of the folder or repository that the user named. A
file that is too large or malformed raises an error that names it.
"""

import contextlib
import contextvars
import os
import pathlib

from keras_stts import _hub_compat as hub
from keras_stts.presets import manifest as preset_manifest
from keras_stts.presets.manifest import MANIFEST
from keras_stts.presets.manifest import ON_PURPOSE
from keras_stts.presets.parsing import AGAIN
from keras_stts.presets.parsing import LIMIT
from keras_stts.presets.parsing import parse_json
from keras_stts.presets.parsing import text_of

# Largest size in bytes of a text file with a vocabulary.
VOCABULARY_LIMIT = 2**27
VOCABULARIES = {
    "added_tokens.json",
    "merges.txt",
    "tokenizer.json",
    "vocab.json",
    "vocabulary.json",
}
WEIGHTS = (".h5", ".safetensors")
_loading = contextvars.ContextVar("loading", default=None)


@contextlib.contextmanager
def loading():
    """Within this context each file of a preset is verified and read once."""
    if _loading.get() is not None:
        yield
        return
    token = _loading.set({"manifests": {}, "verified": set(), "read": {}})
    try:
        yield
    finally:
        _loading.reset(token)


def read_once(make, preset):
    """`make(preset)`, called only once within `loading`."""
    state = _loading.get()
    if state is None:
        return make(preset)
    key = (make, os.fspath(preset))
    if key not in state["read"]:
        state["read"][key] = make(preset)
    return state["read"][key]


def find(preset, name):
    """Path of a file of a preset, downloaded if necessary.

    Args:
        preset: Str. Handle or directory.
        name: Str. Path inside the preset, with slashes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name or a symbolic link leads out of the preset, or
            to something that is not a regular file; or if the preset has a
            manifest that does not list the file or has another checksum.
    """
    preset = os.fspath(preset)
    check_name(name, preset)
    path = _locate(preset, name)
    files = manifest(preset)
    if files is not None:
        _verify(path, files, preset, name)
    return path


def has(preset, name):
    """Whether a preset holds a file; see `find`.

    Raises:
        FileNotFoundError: If its manifest lists the file and it is missing.
        ValueError: See `find`.
    """
    preset = os.fspath(preset)
    check_name(name, preset)
    try:
        _locate(preset, name)
    except FileNotFoundError:
        if name in (manifest(preset) or ()):
            raise
        return False
    return True


def manifest(preset):
    """Dict of the names of a preset's files to size and sha256, or None."""
    preset = os.fspath(preset)
    state = _loading.get() or {"manifests": {}}
    if preset not in state["manifests"]:
        files = None
        with contextlib.suppress(FileNotFoundError):
            path = _locate(preset, MANIFEST)
            where = f"{MANIFEST} of {preset}"
            files = preset_manifest.read(path, where)["files"]
        state["manifests"][preset] = files
    return state["manifests"][preset]


def check_complete(preset):
    """Raise unless a folder holds all files of its manifest, unchanged.

    Weights, and files of a handle, are checked when they are read.
    """
    preset = os.fspath(preset)
    if "://" in preset:
        return
    for name in manifest(preset) or ():
        check_name(name, f"{MANIFEST} of {preset}")
        if name.endswith(WEIGHTS):
            _locate(preset, name)
        else:
            find(preset, name)


def _verify(path, files, preset, name):
    if name not in files:
        raise ValueError(
            f"A preset must hold no files but its own. Received: {name} of "
            f"{preset}, which {MANIFEST} there does not list. Delete the file "
            f"if it is left from another model. {ON_PURPOSE}"
        )
    verified = (_loading.get() or {"verified": set()})["verified"]
    if (preset, name) not in verified:
        preset_manifest.verify(path, files[name], f"{name} of {preset}")
        verified.add((preset, name))


def _locate(preset, name):
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
            "All files of a preset must be regular files. Received: "
            f"{name} of {preset}, which is not. {AGAIN}"
        )
    return path


def check_name(name, where):
    """Raise if a file's name leads out of its folder.

    Args:
        name: What should be a relative path with slashes.
        where: Str, for the error: what names the file.
    """
    good = isinstance(name, str) and 0 < len(name) < 1024
    good = good and name.isprintable() and not set(name) & set("\\:")
    # Windows ignores dots and spaces at the end of a name.
    if not good or not all(part.strip(" .") for part in name.split("/")):
        raise ValueError(
            "A file of a preset must lie in its folder: its name must be a "
            "relative path without `..`, backslash or colon. Received: "
            f"{str(name)[:200]!r} in {where}. Do not load what you do not "
            "trust."
        )


def check_plain_name(name, where):
    """Like `check_name`, for a file beside the one that names it."""
    check_name(name, where)
    if "/" in name:
        raise ValueError(
            "A file of a preset must name only files beside it. Received: "
            f"{name[:200]!r} in {where}. Do not load what you do not trust."
        )


def _check_place(path, preset, name):
    target = os.path.realpath(path)
    folder = os.path.realpath(preset)
    allowed = [folder, *_blobs(folder)]
    if not any(pathlib.Path(target).is_relative_to(root) for root in allowed):
        raise ValueError(
            "A symbolic link in a preset must not leave its folder (except for "
            "Hugging Face's cache). Received: "
            f"{name} of {preset}, which leads elsewhere. Put the file itself "
            "there if you trust it."
        )


def _blobs(folder):
    """The folder of blobs, if a folder is in Hugging Face's cache."""
    for parent in pathlib.Path(folder).parents:
        if parent.name == "snapshots":
            return [parent.parent / "blobs"]
    return []


def read_text(preset, name):
    """Text of a file of a preset.

    Raises:
        FileNotFoundError: See `find`.
        ValueError: See `find`; or if the file is too large or not UTF-8.
        OSError: If it cannot be read.
    """
    path = find(preset, name)
    where = f"{name} of {preset}"
    is_vocabulary = os.path.basename(name) in VOCABULARIES
    return text_of(path, where, VOCABULARY_LIMIT if is_vocabulary else LIMIT)


def read_json(preset, name):
    """The dict in a JSON file of a preset.

    Raises:
        FileNotFoundError: See `find`.
        ValueError: See `read_text`; or if it is not a JSON object, is nested
            too deep, or has a key twice.
    """
    return parse_json(read_text(preset, name), f"{name} of {preset}")
