"""The tower of docs/towers.md runs as it stands, with all methods."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_stts
from tests import pages

PATH = pathlib.Path(__file__).parents[2] / "docs" / "towers.md"

pytestmark = [
    pytest.mark.skipif(
        keras.config.backend() != "torch", reason="One is enough."
    ),
    pytest.mark.filterwarnings("ignore:.*holds no weights of"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the page makes, and the preset that it saved."""
    (text,) = re.findall(
        r"^```python\n(.*?)^```", PATH.read_text(encoding="utf-8"), re.S | re.M
    )
    folder = tmp_path_factory.mktemp("towers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = pages.run(text)
    return {**made, "preset": str(folder / "my_model")}


def load(made, **kwargs):
    model = keras_stts.VideoVLM.from_preset(made["preset"], **kwargs)
    model.compile(sampler="greedy")
    return model


def test_it_learns(made):
    losses = made["model"].history.history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert set(made["answers"]) < set(made["tokenizer"].get_vocabulary())


@pytest.mark.parametrize(
    "pruning",
    [None, "evs", "tome", ["random", keras_stts.pruning.FastV(layer=1)]],
)
def test_methods(made, pruning):
    model = load(made, pruning=pruning)
    answers = model.generate(made["questions"], max_length=40)
    assert len(answers) == len(made["clips"])


def test_what_is_packed_is_what_is_hidden(made):
    """`refill` masks pruned patches of whole frames, without packing."""
    x, _, _ = made["preprocessor"](
        {**made["questions"], "responses": made["responses"]}
    )
    outputs = [
        load(made, prune_ratio=0.5, refill=refill).backbone(x)["hidden_states"]
        for refill in (False, True)
    ]
    packed, masked = map(ops.convert_to_numpy, outputs)
    assert np.abs(packed - masked).max() < 1e-4 * np.abs(masked).max()


def test_its_weights_are_the_vision_encoders(made):
    model = load(made, trainable_parts=["vision_encoder"])
    tower = model.backbone.vision_encoder
    wanted = {id(v) for v in tower.trainable_variables}
    assert {id(v) for v in model.trainable_variables} == wanted
    rows = model.memory(batch_size=1).table["vision_encoder"]
    size = sum(int(np.prod(v.shape)) * 4 for v in tower.weights)
    assert rows["weights"] == size
    model.enable_lora(2)
    paths = {v.path.split("/")[0] for v in model.trainable_variables}
    assert "vision_encoder" in paths


def test_settings_of_a_preset_reach_it(made):
    model = load(made, dtype="mixed_bfloat16", rematerialize=True)
    block = model.backbone.vision_encoder.blocks[0]
    assert block.compute_dtype == "bfloat16" and block.rematerialize
    assert block.query.compute_dtype == "bfloat16"


def backbone(made, tower):
    """A backbone with other vision than that of the page."""
    config = made["backbone"].get_config()
    language = keras_stts.language.LanguageModel
    return keras_stts.VideoVLMBackbone(
        vision_encoder=tower,
        connector=keras_stts.towers.Connector(3, 16, 48, 96, output_dim=64),
        language_model=language(**config["language_model"]["config"]),
        num_frames=8,
        image_patch_id=config["image_patch_id"],
        vision_token_ids=config["vision_token_ids"],
        pruning=None,
    )


def config(made):
    return made["tower"].get_config()


def test_one_that_was_called_before_and_is_called_something(made):
    tower = made["ViT"](**{**config(made), "name": "eye"})
    frames = np.zeros((1, 2, 32, 32, 3), "uint8")
    wanted = ops.convert_to_numpy(tower(frames)["features"])
    model = backbone(made, tower)
    paths = [v.path for v in model.vision_encoder.weights]
    assert {path.split("/")[0] for path in paths} == {"vision_encoder"}
    assert len(set(paths)) == len(paths)
    again = ops.convert_to_numpy(tower(frames)["features"])
    np.testing.assert_array_equal(again, wanted)


def test_a_layer_of_another_dtype(made):
    tower = made["ViT"](**config(made))
    tower.blocks[1] = made["ViTLayer"](3, 96, dtype="bfloat16", name="block_1")
    with pytest.raises(ValueError, match="'block_1' of ViT.*self.dtype_policy"):
        backbone(made, tower)


def test_a_layer_that_is_not_built(made):
    tower = made["ViT"](**config(made))
    tower.extra = keras.layers.Dense(3, name="extra")
    with pytest.raises(ValueError, match="ViT, whose layer 'extra' is not"):
        backbone(made, tower)


def test_features_of_layers_that_are_not_there(made):
    tower = made["ViT"](**{**config(made), "feature_layers": [6]})
    with pytest.raises(ValueError, match="from 0 to num_layers - 1"):
        backbone(made, tower)
