"""Memory of a Qwen3-VL before it is loaded: that of the loaded one."""

import shutil

import pytest

from keras_stts import VideoVLM
from keras_stts.memory.limits import VARIABLE
from keras_stts.memory.weights import weights_of_config
from keras_stts.models import sizes
from tests.models import from_qwen3_vl_test as cases
from tests.models.files_qwen3_vl_test import saved  # noqa: F401

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*holds no token scorer"),
]
PRUNED = {"prune_ratio": 0.5, "prune_layer": 1}


@pytest.fixture
def folder(saved, tmp_path):  # noqa: F811
    shutil.copytree(saved[0], tmp_path / "checkpoint")
    cases.checkpoint(tmp_path / "checkpoint", tied=False)
    return str(tmp_path / "checkpoint")


@pytest.mark.parametrize("phase", ["fit", "evaluate", "generate"])
@pytest.mark.parametrize("options", [PRUNED, {"pruning": None}])
def test_as_of_the_loaded_model(folder, tmp_path, options, phase):
    model = VideoVLM.from_preset(folder, **options)
    model.save_to_preset(tmp_path / "keras")
    for num_frames in (None, 0, 5, 40):
        asked = {"phase": phase, "num_frames": num_frames, "text_length": 64}
        asked |= {"trainable": "all"}
        wanted = model.memory(**asked).table
        asked["time_tokens"] = model.preprocessor.time_tokens
        found = VideoVLM.memory_of(folder, **asked, **options).table
        assert found == wanted
        assert VideoVLM.memory_of(str(tmp_path / "keras"), **asked).table == (
            wanted
        )


def test_shapes_of_weights(folder):
    model = VideoVLM.from_preset(folder, num_images=1, **PRUNED)
    config = model.backbone.get_config()
    counted = sizes.of_parts(config)
    live = sizes.of_backbone(model.backbone)
    names = set(live) - {"pruning", "language_pruning"}
    assert {n: counted[n] for n in names} == {n: live[n] for n in names}
    found = weights_of_config(counted, "float32")
    assert sorted((w.path, w.shape) for w in found) == sorted(
        (v.path, tuple(v.shape)) for v in model.weights
    )


def test_of_the_largest_bucket(folder):
    """Not of most frames by most blocks, which no batch has."""
    model = VideoVLM.from_preset(folder, pruning=None, buckets=[(2, 9), (9, 1)])
    small = VideoVLM.from_preset(folder, pruning=None, buckets=[(2, 9)])
    found, wanted = (m.memory(phase="evaluate") for m in (model, small))
    assert found["inputs"] == wanted["inputs"]
    assert model.memory(num_frames=3)["inputs"] < found["inputs"]


def test_named_before_it_is_loaded(folder, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1MB")
    # Nothing of the weights has been read by then.
    monkeypatch.setattr(
        "keras_stts.formats.qwen3_vl.loading.Checkpoint", lambda *_, **__: 1 / 0
    )
    text = r"The model is estimated.*there are.*Ways out: buckets=\[\(2, "
    with pytest.warns(UserWarning, match=text):
        with pytest.raises(ValueError, match="division by zero"):
            VideoVLM.from_preset(folder, pruning=None)


def test_fit_without_pruning_warns(folder, monkeypatch):
    """There is no ratio that would save anything."""
    model = VideoVLM.from_preset(folder, pruning=None, buckets=[(8, 16)])
    monkeypatch.setenv(VARIABLE, "1MB")
    x = {"videos": [cases.frames()], "prompts": ["why?"], "fps": 2.0}
    with pytest.warns(
        UserWarning, match="`fit` is estimated.*enable_lora"
    ) as w:
        model.fit({**x, "responses": ["so"]}, batch_size=1, verbose=0)
    assert "prune_ratio" not in str(w[0].message)
