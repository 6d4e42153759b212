"""Checksums of the weights, settings and videos behind predictions."""

import importlib.metadata
import zlib

import keras

from keras_stts.data.paths import as_path
from keras_stts.data.paths import size
from keras_stts.models import sizes
from keras_stts.pruning import config_of
from keras_stts.training.shared_saving import read_together

START = 2**16  # Bytes of a video that are looked at.


def file_stamp(path):
    """Size and checksum of a video's start, or of a folder's file names."""
    path = as_path(path)
    if path.is_dir():
        files = sorted(path.iterdir())
        total = sum(size(file) for file in files)
        return [total, checksum([file.name for file in files])]
    with path.open("rb") as file:
        return [size(path), zlib.crc32(file.read(START))]


def check_same_videos(questions, journal):
    """Raise if a video was replaced since its predictions were made."""
    known = {}
    for question in questions:
        entry, path = journal.entries.get(question.id), question.video
        if entry is None or not as_path(path).exists():
            continue
        if path not in known:
            known[path] = file_stamp(path)
        if known[path] != entry["file"]:
            raise ValueError(
                "A folder holds predictions about the videos that were there "
                f"then. Received: {path!r}, another one, for predictions in "
                f"{str(journal.folder)!r}. Choose another `output`, or delete "
                "this folder."
            )


def checksum(value):
    """Checksum of the `repr` of a value."""
    return zlib.crc32(repr(value).encode())


def fingerprint(model):
    """Checksum of a model's weights; all processes of a job must ask for it."""
    code = 0
    for weight in model.weights:
        code = zlib.crc32(read_together(weight).tobytes(), code)
    return code


def model_config(model):
    """The model's config, without what the settings list by name."""
    config = sizes.of_backbone(model.backbone)
    inside = config["language_pruning"]
    config["language_pruning"] = inside and config_of(inside)
    named = {"rematerialize", "num_frames", "prune_ratio", "pruning"}
    policy = keras.dtype_policies.serialize(model.backbone.dtype_policy)
    return policy, [(n, config[n]) for n in sorted(set(config) - named)]


def environment():
    """Dict of the backend and the versions of the packages."""
    packages = ("keras", "keras-hub", keras.config.backend(), "keras-stts")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None  # Run from its folder.
    return {"backend": keras.config.backend(), "versions": versions}
