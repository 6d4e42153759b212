"""Saving replaces what is there of a preset, all of it or nothing."""

import contextlib
import errno
import json
import pathlib
import shutil

import keras_hub
import numpy as np
import pytest

import keras_stts
from keras_stts import VideoVLM
from keras_stts.presets import safe_hdf5
from keras_stts.presets import saving as preset_saving
from tests.models import tiny

pytestmark = [
    pytest.mark.once,
    # HDF5 must not be left with what it cannot write.
    pytest.mark.filterwarnings(
        "error::pytest.PytestUnraisableExceptionWarning"
    ),
]
MANIFEST = "preset_manifest.json"


@pytest.fixture(scope="module")
def old():
    return tiny.model(sharp=True)


@pytest.fixture(scope="module")
def new():
    """Of the same shapes."""
    model = tiny.model(sharp=True)
    for variable in model.trainable_variables:
        variable.assign(variable.value * 0.5)
    return model


def same_weights(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        tiny.same(a, b)


def names(folder):
    paths = pathlib.Path(folder).rglob("*")
    return {p.relative_to(folder).as_posix() for p in paths if p.is_file()}


def save(model, folder, way):
    if way.startswith("keras"):
        size = 5e-5 if way.endswith("parts") else 10
        model.save_to_preset(str(folder), max_shard_size=size)
    else:
        size = 50_000 if way.endswith("parts") else 10**9
        model.export_to_transformers(str(folder), max_shard_size=size)


@pytest.mark.parametrize(
    ("before", "after", "listed"),
    [
        ("keras", "keras parts", True),
        ("keras parts", "keras", False),
        ("keras parts", "molmo2", True),
        ("keras", "molmo2 parts", False),
        ("molmo2", "molmo2 parts", False),
        ("molmo2 parts", "molmo2", False),
        ("molmo2 parts", "keras", True),
        ("molmo2", "keras", False),
    ],
)
def test_saving_over(old, new, tmp_path, before, after, listed):
    """The folder then holds what an empty one would, and others' files."""
    folder, empty = tmp_path / "preset", tmp_path / "empty"
    save(old, folder, before)
    if not listed:
        (folder / MANIFEST).unlink()
        (folder / "README.md").unlink(missing_ok=True)
    mine = {"notes.txt", "clips/a.mp4", "my_model.weights.h5"}
    for name in mine:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    save(new, folder, after)
    save(new, empty, after)
    left = {"README.md"} if listed and before.startswith("keras") else set()
    assert names(folder) == names(empty) | mine | left
    assert all((folder / name).read_text() == "mine" for name in mine)
    same_weights(VideoVLM.from_preset(str(folder)), new)


def test_without_preprocessor_over_one_with(old, tmp_path):
    save(old, tmp_path, "keras")
    bare = VideoVLM(old.backbone)
    bare.save_to_preset(str(tmp_path))
    assert not [n for n in names(tmp_path) if "tokenizer" in n]
    assert VideoVLM.from_preset(str(tmp_path)).preprocessor is None
    bare.export_to_transformers(tmp_path / "exported")
    loaded = VideoVLM.from_preset(str(tmp_path / "exported"))
    assert loaded.preprocessor is None


def test_parts_saved_alone(old, new, tmp_path):
    """A backbone takes the place of the old one and of its head."""
    save(old, tmp_path, "keras")
    new.backbone.save_to_preset(str(tmp_path), max_shard_size=5e-5)
    assert not {"task.json", "task.weights.h5", "model.weights.h5"} & names(
        tmp_path
    )
    with pytest.warns(match="without output head"):
        loaded = VideoVLM.from_preset(str(tmp_path))
    same_weights(loaded.backbone, new.backbone)
    assert loaded.preprocessor is not None
    tokenizer = old.preprocessor.tokenizer
    tokenizer.save_to_preset(str(tmp_path))
    again = keras_stts.VideoVLMTokenizer.from_preset(str(tmp_path))
    assert again.get_vocabulary() == tokenizer.get_vocabulary()
    converter = keras_stts.VideoVLMVideoConverter(16, 4, max_fps=1.0)
    converter.save_to_preset(str(tmp_path))
    again = keras_stts.VideoVLMVideoConverter.from_preset(str(tmp_path))
    assert again.max_fps == 1.0
    listed = json.loads((tmp_path / MANIFEST).read_text())["files"]
    assert set(listed) == names(tmp_path) - {MANIFEST, "README.md"}


def test_a_preprocessor_beside_a_backbone(old, tmp_path):
    old.preprocessor.save_to_preset(str(tmp_path))
    old.backbone.save_to_preset(str(tmp_path))
    with pytest.warns(match="without output head"):
        assert VideoVLM.from_preset(str(tmp_path)).preprocessor is not None


def test_model_card(old, tmp_path):
    """Ours is written anew; someone's stays."""
    card = tmp_path / "README.md"
    save(old, tmp_path, "keras")
    other = VideoVLM.from_preset(str(tmp_path), prune_ratio=0.25)
    other.save_to_preset(str(tmp_path))
    assert "| `prune_ratio` | `0.25` |" in card.read_text()
    card.write_text(card.read_text() + "More.")
    save(old, tmp_path, "keras")
    assert card.read_text().endswith("More.")
    assert "| `prune_ratio` | `0.25` |" in card.read_text()


@contextlib.contextmanager
def no_room_above(size):
    """No file can grow larger: stands for a disk that is full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("way", "size"),
    [("keras", 300), ("keras", 30_000), ("molmo2", 300), ("molmo2", 30_000)],
)
def test_a_full_disk(old, new, tmp_path, way, size):
    save(old, tmp_path, way)
    before = names(tmp_path)
    with no_room_above(size):
        with pytest.raises(OSError, match="Make room or save else") as info:
            save(new, tmp_path, way)
    assert info.value.errno == errno.EFBIG
    assert str(tmp_path) in str(info.value)
    assert names(tmp_path) == before
    same_weights(VideoVLM.from_preset(str(tmp_path)), old)


def test_no_space_left(old, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    save(old, tmp_path, "keras")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left on device. What") as info:
        save(old, tmp_path, "keras")
    assert info.value.errno == errno.ENOSPC


def test_interrupted(old, new, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    save(old, tmp_path, "keras")
    before = names(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(preset_saving.preset_manifest, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(new, tmp_path, "keras parts")
    assert names(tmp_path) == before


def half_saved(old, new, folder):
    """A preset at whose moving into place a process was killed."""
    save(old, folder, "keras")
    moved = []

    def stop(folder, saved):
        moved.append(shutil.copytree(saved, f"{folder}-saved"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preset_saving, "_remove_old", stop)
        patch.setattr(preset_saving.os, "replace", lambda *args: None)
        save(new, folder, "keras parts")
    shutil.move(moved[0], folder / preset_saving.SAVED)


def test_what_was_cut_off_is_finished(old, new, tmp_path):
    folder = tmp_path / "preset"
    half_saved(old, new, folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    same_weights(VideoVLM.from_preset(str(folder)), new)
    assert "model.weights.h5" not in names(folder)
    save(old, copy, "keras")
    same_weights(VideoVLM.from_preset(str(copy)), old)


def test_what_was_cut_off_and_cannot_be_finished(
    old, new, tmp_path, monkeypatch
):
    half_saved(old, new, tmp_path / "preset")

    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(preset_saving.os, "replace", refuse)
    with pytest.raises(PermissionError, match="Copy the folder to where"):
        VideoVLM.from_preset(str(tmp_path / "preset"))


def test_what_saving_must_not_touch(old, tmp_path):
    outside = tmp_path / "outside"
    (outside / "tokenizer").mkdir(parents=True)
    folder = tmp_path / "preset"
    folder.mkdir()
    (folder / "assets").symlink_to(outside)
    with pytest.raises(ValueError, match="leads elsewhere. Save to another"):
        save(old, folder, "keras")
    assert names(outside) == set()
    (folder / "assets").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(ValueError, match="config.json is a folder"):
        save(old, folder, "keras")


def test_lora_weights(old, tmp_path):
    path = tmp_path / "a.lora.h5"
    backbone = keras_stts.VideoVLMBackbone.from_config(
        old.backbone.get_config()
    )
    backbone.enable_lora(2)
    backbone.save_lora_weights(path)
    before = path.read_bytes()
    with no_room_above(500), pytest.raises(OSError, match="a.lora.h5"):
        backbone.save_lora_weights(path)
    assert path.read_bytes() == before
    assert names(tmp_path) == {"a.lora.h5"}
    backbone.load_lora_weights(path)
    for place in np.random.default_rng(0).integers(0, len(before), 20):
        data = bytearray(before)
        data[place] ^= 4
        path.write_bytes(data)
        if data[-60:] == before[-60:]:  # Not the checksum itself.
            with pytest.raises(ValueError, match="a.lora.h5.*sha256 differs"):
                backbone.load_lora_weights(path)
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(ValueError, match="a.lora.h5, which cannot be read"):
        backbone.load_lora_weights(path)
    with pytest.raises(FileNotFoundError, match="no.lora.h5"):
        backbone.load_lora_weights(tmp_path / "no.lora.h5")
    old.save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(ValueError, match="b.weights.h5, which does not"):
        backbone.load_lora_weights(tmp_path / "b.weights.h5")


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_model(old, tmp_path):
    path = str(tmp_path / "a.weights.h5")
    tiny.model(num_layers=3, hidden_dim=24).save_weights(path)
    for model in (old, old.backbone):
        with pytest.raises(ValueError, match="a.weights.h5, which does not"):
            model.load_weights(path)


def test_sealed_files_are_hdf5(old, tmp_path):
    path = tmp_path / "a.weights.h5"
    with safe_hdf5.replacing(path) as part:
        old.save_weights(part, overwrite=True)
    safe_hdf5.check(path)
    twin = tiny.model()
    twin.load_weights(path)
    same_weights(old, twin)


def test_keras_hub_reads_what_was_saved_over(old, new, tmp_path):
    save(old, tmp_path, "keras")
    save(new, tmp_path, "keras parts")
    loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path))
    same_weights(loaded, new)
