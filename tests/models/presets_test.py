"""Saving and loading in Keras' formats."""

import pathlib
import shutil
import types

import h5py
import huggingface_hub
import keras
import keras_hub
import numpy as np
import pytest
from huggingface_hub import constants
from keras import ops

import keras_stts
from keras_stts import VideoVLM
from keras_stts import pruning
from keras_stts.presets import files as preset_files
from keras_stts.presets.built_in import PRESETS
from keras_stts.presets.preset_mixin import resolve_preset
from tests.harness import to_numpy
from tests.models import tiny

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture(scope="module")
def model():
    """A model in training: its optimizer has state."""
    model = tiny.model(sharp=True)
    model.compile(optimizer="adam", sampler="beam")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(7)
    return model


@pytest.fixture(scope="module")
def preset(model, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("preset"))
    model.save_to_preset(path)
    return path


def same_weights(one, other, but="-"):
    """Of the same names, `but` those of one part."""
    names = {v.path: v for v in one.weights if but not in v.path}
    assert set(names) == {v.path for v in other.weights}
    for b in other.weights:
        tiny.same(ops.cast(names[b.path], b.dtype), b)


def same_inputs(one, other):
    for a, b in zip(
        keras.tree.flatten(one(tiny.raw())),
        keras.tree.flatten(other(tiny.raw())),
        strict=True,
    ):
        tiny.same(a, b)


def test_model_card(model, preset, tmp_path):
    card = (pathlib.Path(preset) / "README.md").read_text()
    assert "| `prune_ratio` | `0.5` |" in card
    assert "8 of 16 vision tokens" in " ".join(card.split())
    assert f'"{pathlib.Path(preset).name}", prune_ratio=0.5' in card
    (tmp_path / "README.md").write_text("mine")
    model.save_to_preset(str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("has_card", [True, False])
@pytest.mark.once
def test_upload(model, tmp_path, monkeypatch, has_card):
    """A hub's place is taken by a folder: what arrives there loads."""
    source, hub = tmp_path / "preset", tmp_path / "hub"
    model.save_to_preset(str(source))

    def create_repo(repo_id, exist_ok):
        return types.SimpleNamespace(repo_id=repo_id)

    def upload_folder(repo_id, folder_path):
        assert repo_id == "me/model"
        shutil.copytree(folder_path, hub)

    monkeypatch.setattr(huggingface_hub, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload_folder)
    monkeypatch.setattr(
        huggingface_hub, "file_exists", lambda **kwargs: has_card
    )
    keras_hub.upload_preset("hf://me/model", str(source))
    # On a first upload KerasHub puts a card of its own in the place of ours.
    card = (hub / "README.md").read_text()
    assert ("`prune_ratio`" if has_card else "num_frames:") in card
    same_weights(model, VideoVLM.from_preset(str(hub)))


def test_several_files(model, tmp_path):
    model.save_to_preset(str(tmp_path), max_shard_size=5e-5)
    files = list(tmp_path.glob("model_0*.weights.h5"))
    assert len(files) > 1
    same_weights(model, VideoVLM.from_preset(str(tmp_path)))


@pytest.mark.parametrize(
    "load", [VideoVLM.from_preset, keras_hub.models.CausalLM.from_preset]
)
def test_task(model, preset, load):
    twin = load(preset)
    assert type(twin) is VideoVLM
    same_weights(model, twin)
    assert twin.backbone.get_config() == model.backbone.get_config()
    assert twin.aux_coefficient == model.aux_coefficient
    same_inputs(model.preprocessor, twin.preprocessor)
    x = model.preprocessor(tiny.raw(responses=False))
    tiny.same(tiny.run(model, model, x), tiny.run(twin, twin, x))


def test_parts(model, preset):
    backbone = keras_stts.VideoVLMBackbone.from_preset(preset)
    same_weights(model.backbone, backbone)
    backbone = keras_hub.models.Backbone.from_preset(preset)
    assert type(backbone) is keras_stts.VideoVLMBackbone
    preprocessor = keras_stts.VideoVLMPreprocessor.from_preset(preset)
    same_inputs(model.preprocessor, preprocessor)
    tokenizer = keras_stts.VideoVLMTokenizer.from_preset(preset)
    ids = tokenizer("what moves?<|im_end|>")
    tiny.same(ids, model.preprocessor.tokenizer("what moves?<|im_end|>"))
    converter = keras_stts.VideoVLMVideoConverter.from_preset(preset)
    wanted = model.preprocessor.video_converter.get_config()
    assert converter.get_config() == wanted


def test_a_preset_holds_no_state_of_training(preset):
    names = []
    with h5py.File(pathlib.Path(preset) / "task.weights.h5") as file:
        file.visit(names.append)
    assert not [name for name in names if "optimizer" in name]
    loaded = VideoVLM.from_preset(preset)
    assert int(ops.convert_to_numpy(loaded.optimizer.iterations)) == 0


@pytest.mark.once
def test_a_preset_without_weights(model, preset):
    fresh = VideoVLM.from_preset(preset, load_weights=False)
    kernels = [m.lm_head.kernel for m in (model, fresh)]
    kernels = [ops.convert_to_numpy(kernel) for kernel in kernels]
    assert (kernels[0] != kernels[1]).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"prune_ratio": 0},
        {"prune_ratio": 0.25, "pruning": "random"},
        {"num_frames": 7},
        {"dtype": "bfloat16"},
        {"dtype": "mixed_bfloat16", "aux_coefficient": None},
        {"positions": "original", "preprocessor": None},
    ],
)
def test_changes_leave_the_weights(model, preset, changes):
    changed = VideoVLM.from_preset(preset, **changes)
    other = "pruning" in changes
    same_weights(model, changed, but="pruning" if other else "-")
    assert pruning.serialize(changed.backbone.pruning) == changes.get(
        "pruning", "stts"
    )
    for name in set(changes) - {"dtype", "preprocessor", "pruning"}:
        owner = changed if name == "aux_coefficient" else changed.backbone
        assert getattr(owner, name) == changes[name]
    if "dtype" in changes:
        assert changed.backbone.dtype_policy.name == changes["dtype"]
        assert changed.lm_head.dtype_policy.name == changes["dtype"]


def test_fewer_layers_than_a_preset_has(preset):
    loaded = VideoVLM.from_preset(preset, num_layers=1)
    assert loaded.backbone.num_layers == 1


def test_num_frames_reaches_all_parts(preset):
    loaded = VideoVLM.from_preset(preset, num_frames=6, sequence_length=20)
    assert loaded.backbone.num_frames == 6
    assert loaded.preprocessor.video_converter.num_frames == 6
    x = loaded.preprocessor(tiny.raw((9,), responses=False))
    assert x["videos"].shape == (1, 6, 16, 16, 3)
    assert x["token_ids"].shape == (1, 20)


def test_window_reaches_the_placeholders(preset):
    loaded = VideoVLM.from_preset(preset, window=1)
    assert loaded.preprocessor.num_blocks == loaded.backbone.num_blocks == 16


def test_weights_file(model, tmp_path):
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    twin = tiny.model(prune_ratio=0.25, num_frames=5, pruning="random")
    twin.compile(optimizer="adam")
    twin.optimizer.build(twin.trainable_variables)
    with pytest.warns(match="optimizer"):  # Fewer weights to train.
        twin.load_weights(path)
    same_weights(model, twin, but="pruning")


def test_keras_file(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    twin = keras.saving.load_model(path)
    same_weights(model, twin)
    same_inputs(model.preprocessor, twin.preprocessor)
    assert type(twin.sampler) is keras_hub.samplers.BeamSampler
    assert twin.loss.get_config() == model.loss.get_config()
    for a, b in zip(
        model.optimizer.variables, twin.optimizer.variables, strict=True
    ):
        tiny.same(a, b)


def test_config_round_trip(model):
    config = keras.saving.serialize_keras_object(model.backbone)
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.get_config() == model.backbone.get_config()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"keep_ratio": 0.5}, "keep_ratio"),
        ({"backbone": None, "prune_ratio": 0.5}, "prune_ratio"),
        ({"preprocessor": None, "sequence_length": 9}, "sequence_length"),
    ],
)
@pytest.mark.once
def test_arguments_that_nothing_takes(preset, changes, name):
    with pytest.raises(TypeError, match=f"Received: {name}. Known are"):
        VideoVLM.from_preset(preset, **changes)


@pytest.mark.parametrize(
    "cls",
    [
        keras_stts.VideoVLMBackbone,
        keras_stts.VideoVLMPreprocessor,
        keras_stts.VideoVLMTokenizer,
        keras_stts.VideoVLMVideoConverter,
    ],
)
def test_arguments_that_a_part_does_not_take(preset, cls):
    with pytest.raises(TypeError, match="Received: keep_ratio. Known are"):
        cls.from_preset(preset, keep_ratio=0.5)


def test_unknown_preset(tmp_path):
    with pytest.raises(ValueError, match="'shapes_huge'. Built in are: shapes"):
        VideoVLM.from_preset("shapes_huge")
    assert "shapes_tiny" in VideoVLM.presets
    with pytest.raises(FileNotFoundError, match="holds a `config.json`"):
        VideoVLM.from_preset(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(ValueError, match="of model type 'qwen3'"):
        VideoVLM.from_preset(str(tmp_path))


@pytest.mark.parametrize("name", ["molmo2_4b", "hf://nobody/nothing"])
def test_unreachable_preset(monkeypatch, name):
    """An error at once that names the handle."""
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    handle = PRESETS.get(name, {}).get("handle", name)
    for cls in (VideoVLM, keras_stts.VideoVLMTokenizer):
        with pytest.raises(ConnectionError, match=f"'{handle}' could not be"):
            cls.from_preset(name)


def test_built_in_presets_are_whole():
    for name, preset in PRESETS.items():
        assert set(preset) <= {"metadata", "handle", "config"}
        assert preset["metadata"]["params"] > 0
        assert preset["metadata"]["description"].endswith(".")
        assert name == name.lower()
    assert VideoVLM.presets == PRESETS
    model = VideoVLM.from_preset("shapes_tiny", load_weights=False)
    assert model.count_params() == PRESETS["shapes_tiny"]["metadata"]["params"]


@pytest.mark.once
def test_defaults_of_a_preset(monkeypatch, preset):
    """Taken unless told otherwise."""
    entry = {"handle": preset, "config": {"prune_ratio": 0.3, "refill": True}}
    monkeypatch.setitem(PRESETS, "ours", entry)
    backbone = VideoVLM.from_preset("ours").backbone
    assert (backbone.prune_ratio, backbone.pruning.refill) == (0.3, True)
    backbone = VideoVLM.from_preset("ours", refill=False).backbone
    assert (backbone.prune_ratio, backbone.pruning.refill) == (0.3, False)
    backbone = keras_stts.VideoVLMBackbone.from_preset("ours")
    assert (backbone.prune_ratio, backbone.pruning.refill) == (0.3, True)
    assert keras_stts.VideoVLMTokenizer.from_preset("ours")


def test_keras_hub_loads_our_presets(model, preset):
    loaded = keras_hub.models.CausalLM.from_preset(preset)
    assert type(loaded) is VideoVLM
    same_weights(model, loaded)


def test_a_preset_of_a_backbone_alone(model, tmp_path):
    model.backbone.save_to_preset(str(tmp_path))
    with pytest.warns(match="without output head"):
        loaded = VideoVLM.from_preset(str(tmp_path))
    assert loaded.preprocessor is None
    same_weights(model.backbone, loaded.backbone)


def test_a_preset_with_a_part_of_ones_own(model, preset):
    loaded = VideoVLM.from_preset(preset, backbone=model.backbone)
    assert loaded.backbone is model.backbone
    same_weights(model, loaded)


def test_old_presets_with_optimizer_state(model, preset, tmp_path):
    """`save_to_preset` once wrote it; nobody should see a warning."""
    path = tmp_path / "preset"
    shutil.copytree(preset, path)
    (path / "preset_manifest.json").unlink()
    layers = model.backbone._flatten_layers()
    keras.saving.save_weights(
        model, path / "task.weights.h5", objects_to_skip=list(layers)
    )
    same_weights(model, VideoVLM.from_preset(str(path)))


def test_backbone_and_preprocessor_must_agree(model):
    with pytest.raises(ValueError, match="': 4,.*of the backbone, .*': 3,"):
        VideoVLM(model.backbone, tiny.preprocessor(num_frames=3))
    with pytest.raises(ValueError, match="must agree on num_frames"):
        VideoVLM(model.backbone, tiny.preprocessor(num_blocks=9))
    images = tiny.preprocessor(num_images=2, max_crops=1, patch_size=1)
    with pytest.raises(ValueError, match="'num_images': 0.*'num_images': 2"):
        VideoVLM(model.backbone, images)


@pytest.mark.once
def test_what_ships_is_listed():
    folder = resolve_preset("shapes_tiny")
    with preset_files.loading():
        files = preset_files.manifest(folder)
        for name in files:
            preset_files.find(folder, name)
    paths = pathlib.Path(folder).rglob("*")
    names = {p.relative_to(folder).as_posix() for p in paths if p.is_file()}
    assert names == set(files) | {"preset_manifest.json"}


@pytest.mark.parametrize("pruning", [None, "evs"])
def test_a_scorer_that_a_preset_lacks_starts_random(tmp_path, pruning):
    """Of zeros it would never learn."""
    model = VideoVLM.from_preset("shapes_tiny", pruning=pruning)
    model.save_to_preset(str(tmp_path))
    with pytest.warns(UserWarning, match="holds no weights of STTS"):
        again = VideoVLM.from_preset(
            str(tmp_path), pruning="stts", prune_ratio=0.5
        )
    weights = again.backbone.pruning.scorer.weights
    kernels = [to_numpy(x) for x in weights if x.name == "kernel"]
    assert kernels and all(kernel.std() > 0.01 for kernel in kernels)
    # Into a model that has a scorer, which stays.
    with pytest.warns(UserWarning, match="holds no weights of STTS"):
        again.backbone.load_weights(str(tmp_path / "model.weights.h5"))
    kept = [to_numpy(x) for x in weights if x.name == "kernel"]
    for before, after in zip(kernels, kept):
        np.testing.assert_array_equal(before, after)
