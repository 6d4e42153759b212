"""Saving a preset, which replaces an older one atomically.

If the process is killed, either the old or the new preset is left. New files
and their manifest are written to a folder inside the preset's. When that folder
is renamed, the new preset is valid. Then its files are moved to their places,
`config.json`, without which a folder is not a preset, last. `finish`, which
runs whenever a preset is loaded or saved, completes an interrupted move.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile

import keras_hub

from keras_stts.data import disk
from keras_stts.presets import files as preset_files
from keras_stts.presets import manifest as preset_manifest
from keras_stts.presets import safe_hdf5
from keras_stts.presets.manifest import MANIFEST

PART = ".preset_part-"
SAVED = ".preset_saved"
REMOVED = ".removed.json"
CONFIG = "config.json"
CARD = "README.md"

_CONVERTERS = r"(audio|image|video)_converter\.json"
_TOKENIZER = r"tokenizer\.json|assets/tokenizer/(vocabulary\.json|merges\.txt)"
_WEIGHTS = r"model\.weights\.(h5|json)|model_\d{5}\.weights\.h5"
_PREPROCESSOR = rf"preprocessor\.json|{_CONVERTERS}|{_TOKENIZER}"
# A head belongs to one backbone.
_BACKBONE = rf"(config|metadata|task)\.json|task\.weights\.h5|{_WEIGHTS}"
_TRANSFORMERS = (
    r"(config|generation_config|preprocessor_config|processor_config|"
    r"video_preprocessor_config|chat_template|tokenizer|tokenizer_config|"
    r"special_tokens_map|added_tokens|vocab)\.json|chat_template\.jinja|"
    r"merges\.txt|model\.safetensors(\.index\.json)?|"
    r"model-\d{5}-of-\d{5}\.safetensors"
)
# Files that are replaced by saving.
FILES = {
    "task": f"{_BACKBONE}|{_PREPROCESSOR}",
    "backbone": _BACKBONE,
    "preprocessor": _PREPROCESSOR,
    "tokenizer": _TOKENIZER,
    "converter": _CONVERTERS,
    "transformers": _TRANSFORMERS,
}
WHOLE = ("task", "transformers")
NOTHING = "(?!)"
# Of the checkpoints of others that `FILES` names.
MODEL_TYPES = ("molmo2", "qwen3_vl")


def kind_of(part):
    """Key in `FILES` of a part of a model that can be saved alone."""
    kinds = {
        "backbone": keras_hub.models.Backbone,
        "preprocessor": keras_hub.models.Preprocessor,
        "tokenizer": keras_hub.tokenizers.Tokenizer,
    }
    found = [kind for kind, cls in kinds.items() if isinstance(part, cls)]
    return found[0] if found else "converter"


def is_part(folder):
    """Whether a folder is a temporary one of `replacing`."""
    return pathlib.Path(folder).name.startswith(PART)


@contextlib.contextmanager
def replacing(folder, kind, base=None):
    """Give a folder for the files of a preset, which then replace the old ones.

    Other files of the old preset are removed if they are of this kind; files
    that are not part of a preset are kept.

    Args:
        folder: Path of the preset, created if it is missing.
        kind: Key of `FILES`.
        base: Optional str, the preset that a task was trained from.

    Raises:
        OSError: If it cannot be written, for example on a full disk. Then the
            old preset is unchanged.
    """
    folder = pathlib.Path(folder)
    with disk.writing_to(folder):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with disk.locked(folder), _removed_if(is_new, folder):
            _finish(folder)
            for left in folder.glob(f"{PART}*"):
                shutil.rmtree(left, ignore_errors=True)
            part = pathlib.Path(tempfile.mkdtemp(prefix=PART, dir=folder))
            try:
                with safe_hdf5.guarded():
                    yield part
                _complete(folder, part, kind, base)
                part.rename(folder / SAVED)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            disk.flush(folder)
            _finish(folder)


@contextlib.contextmanager
def _removed_if(is_new, folder):
    """Remove a new folder if nothing was saved to it."""
    try:
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _complete(folder, part, kind, base):
    """Write the manifest, and the list of files to remove."""
    new = {name: part / name for name in _walk(part)}
    for name in new:
        _check_target(folder, name)
    manifest = listed(folder)
    old = set(_names(folder, FILES[kind]))
    if CONFIG in new:
        old |= set(_names(folder, _other_format(folder, kind)))
    kept = {}
    if kind in WHOLE:
        old |= set(manifest["files"])
    else:
        base = manifest.get("base")
        rest = {*manifest["files"], *_names(folder, FILES["task"])}
        for name in rest - old - set(new):
            path = folder / name
            if path.is_file():
                entry = manifest["files"].get(name)
                kept[name] = entry or preset_manifest.entry(path)
    (part / REMOVED).write_text(json.dumps(sorted(old - set(new))))
    card = manifest["model_card"]
    if CARD in new:
        card = preset_manifest.sha256(new.pop(CARD))
    files = {name: preset_manifest.entry(path) for name, path in new.items()}
    preset_manifest.write(part / MANIFEST, {**kept, **files}, card, base)
    for path in part.rglob("*"):
        disk.flush(path)
    disk.flush(part)


def listed(folder):
    """The manifest in a folder; empty without a valid one."""
    try:
        return preset_manifest.read(folder / MANIFEST, MANIFEST)
    except (OSError, ValueError):
        return {"files": {}, "model_card": None}


def _walk(part):
    paths = (path for path in part.rglob("*") if not path.is_dir())
    return [path.relative_to(part).as_posix() for path in paths]


def _names(folder, pattern):
    """Names of the files in a preset's folder that match a pattern."""
    names = []
    for place in ("", "assets/tokenizer/"):
        with contextlib.suppress(OSError):
            names += [place + name for name in os.listdir(folder / place)]
    return [
        name
        for name in names
        if re.fullmatch(pattern, name) and not (folder / name).is_dir()
    ]


def _other_format(folder, kind):
    """Pattern of the files of a preset in a folder, if of another format."""
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        is_keras = "registered_name" in config
        is_transformers = config.get("model_type") in MODEL_TYPES
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return NOTHING
    if kind == "transformers":
        return FILES["task"] if is_keras else NOTHING
    return FILES["transformers"] if is_transformers else NOTHING


def _check_target(folder, name):
    """Raise if a file cannot take its place, or would leave the folder."""
    preset_files.check_name(name, folder)
    path = folder / name
    parent = pathlib.Path(os.path.realpath(path.parent))
    inside = parent.is_relative_to(os.path.realpath(folder))
    if not inside or path.is_dir() or (parent.exists() and not parent.is_dir()):
        raise ValueError(
            "A preset is saved to files in its own folder. Received: "
            f"{folder}, where {name} is a folder or leads elsewhere. Save to "
            "another folder."
        )


def finish(folder):
    """Complete the saving of a preset if a process was killed meanwhile.

    Raises:
        OSError: If the folder cannot be written to.
    """
    folder = pathlib.Path(folder)
    if not (folder / SAVED).exists():
        return
    try:
        with disk.locked(folder):
            _finish(folder)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{folder} holds a preset whose saving was interrupted, and it "
            f"cannot be finished there ({error}). Copy the folder to where "
            "you may write, and load it from there.",
        ) from error


def _finish(folder):
    saved = folder / SAVED
    if saved.is_symlink():
        raise ValueError(
            f"{SAVED} in a preset's folder must be a folder. Received: a "
            f"symbolic link in {folder}. Do not load files that you do not "
            "trust."
        )
    if not saved.is_dir():
        return
    if (saved / MANIFEST).exists():
        _remove_old(folder, saved)
        names = set(_walk(saved)) - {REMOVED, CONFIG, MANIFEST}
        for name in [*sorted(names), CONFIG, MANIFEST]:
            if (saved / name).exists():
                _check_target(folder, name)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(saved / name, folder / name)
        disk.flush(folder)
    shutil.rmtree(saved)


def _remove_old(folder, saved):
    names = json.loads((saved / REMOVED).read_text("utf-8"))
    first = [CONFIG] if (saved / CONFIG).exists() else []
    for name in [*first, *names]:
        _check_target(folder, name)
        (folder / name).unlink(missing_ok=True)
