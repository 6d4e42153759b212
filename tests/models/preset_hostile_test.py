"""Presets that name other files or code, or that cannot be."""

import json
import pathlib
import shutil
import sys
import time

import h5py
import keras
import keras_hub
import numpy as np
import pytest

import keras_stts
from keras_stts import VideoVLM
from keras_stts import VideoVLMTokenizer
from keras_stts.models import backbone_bounds
from keras_stts.presets import configs as preset_configs
from keras_stts.presets import safe_hdf5
from tests import tiny as tiny_model
from tests.models import preset_damage
from tests.models import tiny

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def model():
    return tiny.shallow(sharp=True, num_layers=2)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model.save_to_preset(str(folder))
    return folder


@pytest.fixture
def preset(saved, tmp_path):
    return pathlib.Path(shutil.copytree(saved, tmp_path / "preset"))


@pytest.fixture
def bare(preset):
    """As older versions saved it."""
    (preset / "preset_manifest.json").unlink()
    return preset


def refused(folder, *words, error=ValueError):
    with pytest.raises(error) as info:
        VideoVLM.from_preset(str(folder))
    text = str(info.value)
    assert not [word for word in words if word not in text], text
    assert preset_damage.SECRET not in text
    return text


def settings(folder, name="config.json", **changes):
    preset_damage.edit(folder / name, lambda c: c["config"].update(changes))


def test_a_preset_without_manifest(model, bare):
    loaded = VideoVLM.from_preset(str(bare))
    for one, other in zip(model.weights, loaded.weights, strict=True):
        tiny.same(one, other)


def test_each_file_is_verified(preset):
    for name in preset_damage.files(preset):
        path = preset / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        refused(preset, name, "sha256 differs", "preset_manifest.json")
        path.write_bytes(data[:-1])
        refused(preset, name, f"instead of {len(data):,}")
        path.unlink()
        refused(preset, name, error=FileNotFoundError)
        path.write_bytes(data)
    (preset / "model.weights.json").write_text("{}")
    refused(preset, "model.weights.json", "Delete the older")
    (preset / "model.weights.json").unlink()
    VideoVLM.from_preset(str(preset))


def test_parts_are_verified_too(preset):
    path = preset / "assets" / "tokenizer" / "merges.txt"
    path.write_bytes(path.read_bytes()[:-9])
    parts = (keras_stts.VideoVLMTokenizer, keras_stts.VideoVLMPreprocessor)
    for cls in parts:
        with pytest.raises(ValueError, match="merges.txt of .* bytes instead"):
            cls.from_preset(str(preset))
    keras_stts.VideoVLMBackbone.from_preset(str(preset))
    VideoVLM.from_preset(str(preset), preprocessor=None)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("preprocessor.json", ["without preprocessor.json", "=None"]),
        ("assets/tokenizer/merges.txt", ["merges.txt"]),
        ("assets/tokenizer/vocabulary.json", ["vocabulary.json"]),
        ("task.json", ["without task.json"]),
        ("task.weights.h5", ["without task.weights.h5"]),
        ("model.weights.h5", ["without model.weights.h5"]),
        ("config.json", ["config.json"]),
    ],
)
def test_half_a_preset(bare, missing, words):
    (bare / missing).unlink()
    refused(bare, *words, error=FileNotFoundError)


def test_only_task_json_tells_of_a_preprocessor(bare):
    for name in ("preprocessor.json", "tokenizer.json", "video_converter.json"):
        (bare / name).unlink()
    refused(bare, "with task.json, without", error=FileNotFoundError)
    assert VideoVLM.from_preset(str(bare), preprocessor=None)


def test_half_a_checkpoint(model, tmp_path):
    model.export_to_transformers(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    refused(tmp_path, "tokenizer.json", error=FileNotFoundError)
    (tmp_path / "preset_manifest.json").unlink()
    refused(tmp_path, "without tokenizer.json", error=FileNotFoundError)


def test_weights_of_two_models(model, bare, tmp_path):
    model.backbone.save_weights(
        bare / "model.weights.json", max_shard_size=5e-5
    )
    refused(bare, "model.weights.h5 and model.weights.json", "the older")
    exported = tmp_path / "exported"
    model.export_to_transformers(exported)
    (exported / "preset_manifest.json").unlink()
    weights = (exported / "model.safetensors").read_bytes()
    model.export_to_transformers(exported, max_shard_size=50_000)
    (exported / "preset_manifest.json").unlink()
    (exported / "model.safetensors").write_bytes(weights)
    refused(exported, "model.safetensors and model.safetensors.index.json")


@pytest.mark.parametrize("value", preset_damage.OUTSIDE)
def test_shards_elsewhere(model, tmp_path, value):
    for name in ("model.weights.json", "model.safetensors.index.json"):
        folder = tmp_path / name.split(".")[1]
        if name.startswith("model.weights"):
            model.save_to_preset(str(folder), max_shard_size=5e-5)
        else:
            model.export_to_transformers(folder, max_shard_size=50_000)
        (folder / "preset_manifest.json").unlink()

        def change(content):
            key = next(iter(content["weight_map"]))
            content["weight_map"][key] = value

        preset_damage.edit(folder / name, change)
        refused(folder, name)


@pytest.mark.parametrize("call", preset_damage.CALLS)
@pytest.mark.parametrize("name", ["config.json", "preprocessor.json"])
def test_configs_that_call(bare, name, call):
    keras.config.enable_unsafe_deserialization()
    try:
        settings(bare, name, more={"nested": [call]})
        refused(bare, name, "registered with Keras", "do not trust")
        preset_damage.edit(bare / name, lambda c: {**c, **call})
        refused(bare, name)
    finally:
        keras.src.saving.serialization_lib.disable_unsafe_deserialization = 0
        keras.src.backend.common.global_state.set_global_attribute(
            "safe_mode_saving", None
        )
    assert "antigravity" not in sys.modules


def test_classes_that_are_known():
    for cls in ("keras.layers>Dense", None):
        config = {"class_name": "Dense", "module": "keras.layers", "config": {}}
        preset_configs.check({**config, "registered_name": None}, "a file")
    with pytest.raises(ValueError, match="Lambda.*a file"):
        preset_configs.check(
            {"class_name": "layers.Lambda", "module": "keras"}, "a file"
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"vocabulary": "/etc/hostname", "merges": "/etc/hostname"},
        {"vocabulary": {}, "merges": "../merges.txt"},
        {"config_file": "/etc/hostname"},
        {"config_file": "../../secret.json"},
        {"config_file": "assets/secret.json"},
    ],
)
def test_tokenizers_elsewhere(bare, changes):
    settings(bare, "tokenizer.json", **changes)
    with pytest.raises(ValueError, match="tokenizer.json"):
        keras_stts.VideoVLMTokenizer.from_preset(str(bare))

    def change(content):
        content["config"]["tokenizer"]["config"].update(changes)

    preset_damage.edit(bare / "preprocessor.json", change)
    refused(bare, "preprocessor.json")
    (bare / "task.json").write_text(
        (bare / "task.json").read_text().replace('"config_file"', '"x"')
    )
    preset_damage.edit(
        bare / "task.json",
        lambda c: c["config"]["preprocessor"]["config"]["tokenizer"][
            "config"
        ].update(changes),
    )
    with pytest.raises(ValueError):
        keras_hub.models.CausalLM.from_preset(str(bare))


@pytest.mark.parametrize("way", preset_damage.HOSTILE[:-1])
@pytest.mark.parametrize("name", ["model.weights.h5", "task.weights.h5"])
def test_weights_elsewhere(bare, name, way):
    with h5py.File(bare.parent / "secret.h5", "w") as other:
        other["x"] = np.ones(3)
    with h5py.File(bare / name, "a") as file:
        arrays = []
        file.visit(lambda n: arrays.append(n) if n.endswith("vars/0") else None)
        shape = file[arrays[0]].shape
        del file[arrays[0]]
        way(file, arrays[0], shape)
    refused(bare, name, arrays[0], "trust")
    for cls in (keras_hub.models.CausalLM, keras_hub.models.Backbone):
        if cls is keras_hub.models.CausalLM or name.startswith("model"):
            with pytest.raises(ValueError, match=name):
                cls.from_preset(str(bare))


def test_links_between_groups(tmp_path):
    """Hard links can make a ring."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b/c"] = np.ones(3)
        file["a/b/again"] = file["a"]
    safe_hdf5.check(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_layers", 1),
        ("num_layers", 10**6),
        ("num_layers", 1000),
        ("vision_num_layers", 10**6),
        ("vocabulary_size", 10**12),
        ("vocabulary_size", 10**7),
        ("image_size", 10**7),
        ("hidden_dim", 10**5),
        ("hidden_dim", -16),
        ("hidden_dim", 16.0),
        ("hidden_dim", float("nan")),
        ("hidden_dim", True),
        ("hidden_dim", "16"),
        ("hidden_dim", None),
        ("num_frames", 10**9),
        ("max_crops", 10**9),
        ("num_images", 10**9),
        ("vision_feature_layers", list(range(10**5))),
        ("vision_token_ids", [0.5]),
        ("rope_max_wavelength", float("inf")),
        ("layer_norm_epsilon", "small"),
        ("prune_ratio", float("nan")),
        ("pixel_std", 0),
        ("norm_after", "no"),
    ],
)
def test_backbones_that_cannot_be(bare, name, value):
    settings(bare, **{name: value})
    start = time.perf_counter()
    text = refused(bare, str(bare))
    assert "config" in text
    assert time.perf_counter() - start < 20  # Not minutes, nor all memory.
    changed = name not in ("num_layers", "vocabulary_size", "hidden_dim")
    if changed or value not in (1, 1000, 10**7, 10**5):
        with pytest.raises(ValueError, match=name):
            tiny_model.tiny_model(**{name: value})


def test_sizes_that_are_too_large_together():
    big = {name: 2**10 for name in backbone_bounds.SIZES}
    big |= {"hidden_dim": 2**17, "intermediate_dim": 2**19}
    with pytest.raises(ValueError, match="sizes of all layers must be so sm"):
        backbone_bounds.check_backbone(big)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_length", 10**12),
        ("sequence_length", -1),
        ("time_tokens", 10**12),
        ("patch_size", 1.5),
        ("chat_template", ["{{ x }}"]),
    ],
)
def test_preprocessors_that_cannot_be(bare, name, value):
    settings(bare, "preprocessor.json", **{name: value})
    refused(bare, name, "preprocessor.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames", 10**12),
        ("image_size", [10**7, 10**7]),
        ("image_size", []),
        ("max_fps", float("nan")),
        ("max_fps", "2"),
    ],
)
def test_converters_that_cannot_be(bare, name, value):
    settings(bare, "video_converter.json", **{name: value})
    with pytest.raises(ValueError, match=f"{name}.*video_converter.json"):
        keras_stts.VideoVLMVideoConverter.from_preset(str(bare))


def test_vocabularies_that_cannot_be(bare):
    path = bare / "assets" / "tokenizer" / "vocabulary.json"
    good = json.loads(path.read_text("utf-8"))
    first = next(iter(good))
    for value in (-1, True, [0], good["a"]):
        path.write_text(json.dumps({**good, first: value}), "utf-8")
        refused(bare, "vocabulary.json")
    path.write_text(json.dumps(good), "utf-8")
    path = path.with_name("merges.txt")
    text = path.read_text("utf-8").rstrip("\n")
    for line in ("a", "no such"):
        path.write_text(f"{text}\n{line}\n\n{text}\n", "utf-8")
        refused(bare, "merges.txt", "line")
    path.write_bytes(b"\xff\xfe")
    refused(bare, "merges.txt", "UTF-8")


@pytest.mark.parametrize("value", ["x", -1, [[]], 10**12])
def test_tokens_of_a_config_are_a_list_of_str(bare, value):
    path = bare / "tokenizer.json"
    config = json.loads(path.read_text("utf-8"))
    config["config"]["unsplittable_tokens"] = value
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueError, match="`unsplittable_tokens` .*tokenizer.j"):
        VideoVLMTokenizer.from_preset(str(bare))


def test_raw_errors_name_the_preset(bare):
    settings(bare, "task.json", aux_coefficient="much")
    refused(bare, "aux_coefficient", "task.json")
    settings(bare, unheard_of=3)
    refused(bare, "unheard_of", str(bare))
    (bare / "model.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    refused(bare, "model.weights.h5", "whole HDF5")
