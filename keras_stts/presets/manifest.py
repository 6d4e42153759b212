"""The list of a preset's files, with sizes and checksums.

A preset without a list is read as it is. With a list, each file that is read
must be listed and unchanged.
"""

import hashlib
import json
import os
import re

from keras_stts.presets.parsing import AGAIN
from keras_stts.presets.parsing import parse_json
from keras_stts.presets.parsing import text_of

MANIFEST = "preset_manifest.json"
FORMAT = 1
ON_PURPOSE = f"If the change is intended, delete {MANIFEST} there."
_SHA256 = re.compile("[0-9a-f]{64}")
_HANDLE = re.compile(r"[\w:/@.-]{0,300}", re.ASCII)


def entry(path):
    """The entry of a file in a manifest."""
    return {"size": os.path.getsize(path), "sha256": sha256(path)}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path, files, model_card=None, base=None):
    """Write a manifest.

    Args:
        path: Path of the manifest.
        files: Dict of name to `entry`.
        model_card: Optional str, sha256 of the README that was written, which
            may be edited later.
        base: Optional str, the preset that the model was trained from.
    """
    content = {"format": FORMAT, "model_card": model_card, "files": files}
    if base is not None and _HANDLE.fullmatch(base):
        content["base"] = base
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")


def read(path, where):
    """The dict that `write` wrote; `where` is the file's name for errors.

    Raises:
        ValueError: If it is not such a dict.
    """
    content = parse_json(text_of(path, where), where)
    files = content.get("files")
    good = isinstance(files, dict) and all(map(_is_entry, files.values()))
    base = content.get("base", "")
    good = good and isinstance(base, str) and _HANDLE.fullmatch(base)
    if content.get("format") != FORMAT or not good:
        raise ValueError(
            f"A preset's list of files must be of format {FORMAT}, with size "
            f"and sha256 of each. Received: {where}, which is not. It is "
            f"damaged, or from a newer version. {AGAIN}"
        )
    return content


def _is_entry(value):
    if not isinstance(value, dict) or set(value) != {"size", "sha256"}:
        return False
    size, digest = value["size"], value["sha256"]
    good = type(size) is int and size >= 0 and isinstance(digest, str)
    return good and _SHA256.fullmatch(digest) is not None


def verify(path, wanted, where):
    """Raise unless a file agrees with the manifest; `where` names it."""
    size = os.path.getsize(path)
    if size != wanted["size"]:
        difference = f"has {size:,} bytes instead of {wanted['size']:,}"
    elif sha256(path) != wanted["sha256"]:
        difference = "has been changed (its sha256 differs)"
    else:
        return
    raise ValueError(
        "A file of a preset must be as it was saved. Received: "
        f"{where}, which {difference}. {AGAIN} {ON_PURPOSE}"
    )
