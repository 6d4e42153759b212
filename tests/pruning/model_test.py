"""Methods inside a model: what stays, training, answers, files.

STTS, frame similarity and random take the same paths in `tests/models`.
"""

import functools

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts import pruning
from keras_stts.compiling import compiled
from tests.models import tiny
from tests.pruning.contrast import Contrast

LENGTHS = (4, 2, 3)
METHODS = {
    "evs": "evs",
    "vidcom2": "vidcom2",
    "in_encoder": pruning.VidCom2(temperature=0.1, place="vision_encoder"),
    "contrast": Contrast(power=3),
    "tome": "tome",
}
# JAX takes seconds to compile each, and the rest differ in `call` alone, which
# `ranking_test` compiles.
IN_JAX = ("contrast", "tome", "vidcom2")
if keras.config.backend() == "jax":
    METHODS = {name: METHODS[name] for name in IN_JAX}
RANKINGS = sorted(set(METHODS) - {"tome"})
each_method = pytest.mark.parametrize("name", sorted(METHODS))
each_ranking = pytest.mark.parametrize("name", RANKINGS)


@functools.cache
def model(name, **kwargs):
    method = METHODS.get(name, name)
    return tiny.packed(sharp=True, pruning=method, **kwargs)


@functools.cache
def batch():
    return model("contrast").preprocessor(tiny.raw(LENGTHS, responses=False))


@functools.cache
def runner(name):
    """Function from inputs to what the backbone gives, compiled once."""
    backbone = model(name).backbone
    if keras.config.backend() != "jax":
        return lambda x: tiny.run(backbone, backbone, x)
    run = compiled(backbone, backbone)
    return lambda x: keras.tree.map_structure(np.array, run(x))


@functools.cache
def outputs(name):
    return runner(name)(batch())


@each_ranking
def test_budgets_are_exact_and_frame_0_stays(name):
    found = outputs(name)
    frames = found["kept"].sum(-1)
    assert frames.sum(-1).tolist() == [length * 2 for length in LENGTHS]
    assert (frames[:, 0] == tiny.NUM_BLOCKS).all()
    assert not frames[~batch()["frame_mask"]].any()
    for kept, scores, length in zip(found["kept"], found["scores"], LENGTHS):
        kept, scores = kept[1:length], scores[1:length]
        if kept.any():
            assert scores[kept].min() >= scores[~kept].max()


@each_method
def test_each_video_of_a_batch_alone(name):
    found = outputs(name)
    for i, length in enumerate(LENGTHS):
        x = {key: value[[i] * 3] for key, value in batch().items()}
        alone = runner(name)(x)
        tiny.close(alone["hidden_states"][0], found["hidden_states"][i])
        if name in RANKINGS:
            tiny.same(alone["kept"][0], found["kept"][i])
    assert np.abs(found["hidden_states"]).max() > 0.1


def test_methods_show_the_language_model_different_things():
    shown = [outputs(name)["hidden_states"] for name in METHODS]
    for i, one in enumerate(shown):
        for other in shown[:i]:
            assert np.abs(one - other).max() > 1e-3


def test_keeping_all_is_no_pruning():
    whole = outputs(None)["hidden_states"]
    assert model(None).backbone.prune_ratio == 0
    for name in set(METHODS) & {"evs", "tome"}:
        most = model(name, prune_ratio=0.01).backbone
        found = tiny.run(most, most, batch())["hidden_states"]
        tiny.close(found, whole)
        assert np.abs(found - outputs(name)["hidden_states"]).max() > 1e-3


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"vidcom2"}))
def test_the_loss_falls(name):
    trained = tiny.packed(pruning=METHODS[name], rematerialize=name == "tome")
    tiny.compile_to_train(trained, rate=0.5)
    fit = functools.partial(trained.fit, tiny.raw(LENGTHS), batch_size=3)
    history = fit(epochs=3, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert "aux_loss" not in history
    assert not trained.backbone.pruning.weights


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"contrast"}))
def test_generate(name):
    answering = model(name)
    answering.compile(sampler="greedy")
    x = tiny.raw(LENGTHS, responses=False)
    answers = answering.generate(x, max_length=19)
    assert len(answers) == 3 and any(answers)


@pytest.mark.parametrize("name", ["contrast", "tome"])
def test_keras_files(name, tmp_path):
    saved = model(name)
    saved.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for one in (twin, saved):
        assert one.backbone.prune_ratio == 0.5
    one, other = twin.backbone.pruning, saved.backbone.pruning
    assert one.get_config() == other.get_config()
    for one, other in zip(twin.get_weights(), saved.get_weights()):
        tiny.same(one, other)


def test_presets(tmp_path):
    saved = model("contrast")
    saved.save_to_preset(tmp_path)
    load = keras_stts.VideoVLM.from_preset
    backbone = load(str(tmp_path)).backbone
    shown = pruning.serialize(backbone.pruning)
    assert shown["config"] == {"place": "connector", "power": 3}
    assert backbone.pruning.power == 3
    assert backbone.get_config() == saved.backbone.get_config()
    method = pruning.VidCom2(temperature=0.1, place="vision_encoder")
    other = load(str(tmp_path), pruning=method)
    assert other.backbone.pruning.temperature == 0.1
    for one, same in zip(other.get_weights(), saved.get_weights()):
        tiny.same(one, same)


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="compiles each operation by itself"
)
def test_kept_blocks():
    video = tiny.video(0, 3).repeat(2, axis=2)  # Twice as wide as high.
    found = model("contrast").kept_blocks(video, fps=1.0)
    np.testing.assert_array_equal(found["frames"], video)
    assert found["kept"].shape == found["scores"].shape == (3, 4)
    assert found["kept"].sum() == 6


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="compiles each operation by itself"
)
def test_groups_of_merged_patches():
    video = np.zeros((3, 16, 16, 3), "uint8")
    video[:, :, 8:] = 255  # Two halves: 16 patches of two kinds.
    found = model("tome").kept_blocks(video, fps=1.0)
    assert found["kept"].all() and found["scores"] is None
    groups, own = found["groups"], np.arange(16)
    assert groups.shape == (3, 16) and found["patch_grid"] == (4, 4)
    assert groups.dtype == "int32"
    # Half of the patches are gone; a group is named after its first patch.
    for frame in groups:
        assert (frame == own).sum() == len(np.unique(frame)) == 8
        assert (frame <= own).all() and (frame[frame] == frame).all()
    # Patches that look alike are merged first.
    assert (own[groups] % 4 // 2 == own % 4 // 2).mean() > 0.7
    assert model("contrast").kept_blocks(video, fps=1.0)["groups"] is None


def test_num_kept_blocks():
    counts = [model(n).backbone.num_kept_blocks for n in ("contrast", "tome")]
    assert counts == [8, 16]


def test_operations_counted():
    names = ("contrast", "random", "tome", "stts")
    after, inside, tome, stts = (model(name).flops() for name in names)
    whole = model("contrast").flops(prune_ratio=0)
    for part in ("vision_encoder", "connector"):
        assert after[part] == whole[part] > inside[part]
    for name in ("connector", "language_model"):
        assert tome[name] == whole[name] > inside[name]
    assert tome["vision_encoder"] < whole["vision_encoder"]
    assert after["language_model"] == inside["language_model"]
    assert stts["scorer"] > 0 == after["scorer"] == inside["scorer"]
    assert stts["total"] == inside["total"] + stts["scorer"]
    assert model("tome").flops(prune_ratio=0) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning": "evs", "refill": True}, "place='connector'. Leave"),
        ({"pruning": "tome", "refill": True}, "pruning='tome', which has none"),
        ({"pruning": "tome", "prune_ratio": 0.95}, "at most half of its tok"),
        ({"pruning": "evs", "prune_ratio": 0.85}, "Frame 0 is never pruned"),
    ],
)
def test_what_does_not_go_together(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.model(**changes)


def test_methods_that_could_not_be_loaded_are_refused():
    """When the model is made, not when it is saved."""

    class Mine(pruning.Random):
        pass

    class Inside(pruning.FastV):
        pass

    for methods in (Mine(), Inside(layer=1), ["random", Inside(layer=1)]):
        with pytest.raises(ValueError, match="must be registered.*Received"):
            tiny.model(pruning=methods)
    with pytest.raises(ValueError, match="must be registered.*Inside"):
        tiny.model(language_pruning=Inside(layer=1))
    with keras.saving.custom_object_scope({"Mine": Mine}):
        tiny.model(pruning=Mine())
