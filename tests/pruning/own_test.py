"""Methods as a user writes them, each in one class beside the package."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_stts
from tests.models import tiny

register = keras.saving.register_keras_serializable("tests_of_own_methods")


@register
class Learned(keras_stts.pruning.Ranking):
    """Foresees how much a block changes, and biases attention if asked to."""

    def __init__(self, weight=1.0, biases=False, place=None):
        super().__init__(place=place)
        self.weight = weight
        self.biases = biases

    def build(self, blocks_shape):
        self.dense = keras.layers.Dense(1, activation="sigmoid")
        self.dense.build(blocks_shape)
        self.built = True

    def call(self, blocks, frames):
        scores = self.dense(blocks)[..., 0]
        change = 1 - keras_stts.ops.neighbor_similarity(blocks)
        error = ops.square(scores - ops.stop_gradient(change))
        if self.weight:
            self.add_loss(self.weight * ops.mean(error))
        return scores

    def attention_bias(self, scores, frames):
        return ops.log(scores) if self.biases else None

    def flops(self, num_frames, num_blocks, width):
        return 2 * num_frames * num_blocks * width

    def get_config(self):
        config = {"weight": self.weight, "biases": self.biases}
        return {**super().get_config(), **config}


@register
class MergeByFeatures(keras_stts.pruning.Merging):
    def merge(self, x, key, merged, count):
        return keras_stts.ops.merge_tokens(x, merged, x, count)

    def flops(self, num_frames, num_blocks, width):
        return 7


@register
class Halved(keras_stts.pruning.language.LanguagePruning):
    """Drops half of the tokens after the first layer."""

    def __init__(self, ratio=0.5):
        stage = keras_stts.pruning.language.Stage(layer=1, ratio=ratio)
        super().__init__([stage], rope=False)
        self.ratio = ratio

    def flops(self, num_frames, num_blocks, width):
        return num_frames * num_blocks * width

    def get_config(self):
        return {"ratio": self.ratio}


def kernel(model):
    kernel = model.backbone.pruning.dense.kernel
    return np.array(ops.convert_to_numpy(kernel))


def train(method):
    """Its kernel before and after a step, and the losses of that step."""
    model = tiny.shallow(pruning=method, task={"aux_coefficient": None})
    tiny.compile_to_train(model, rate=1.0)
    before = kernel(model)
    history = model.fit(tiny.raw(), batch_size=3, verbose=0).history
    return model, before, kernel(model), history


@pytest.mark.parametrize("place", ["vision_encoder", "connector"])
def test_a_loss_of_its_own_trains_it(place):
    model, before, after, history = train(Learned(place=place))
    assert np.abs(after - before).max() > 1e-4
    _, before, after, other = train(Learned(weight=0.0, place=place))
    assert np.abs(after - before).max() == 0
    assert history["loss"][0] > other["loss"][0]
    losses = model.losses
    assert keras.config.backend() == "jax" or len(losses) == 1


def test_the_loss_of_answers_trains_it_by_its_bias():
    _, before, after, _ = train(Learned(weight=0.0, biases=True))
    assert np.abs(after - before).max() > 1e-6


def test_what_it_has_is_the_part_that_is_called_scorer():
    task = {"trainable_parts": ["scorer"]}
    model = tiny.shallow(pruning=Learned(), task=task)
    paths = {v.path.split("/")[0] for v in model.trainable_variables}
    assert paths == {"pruning"}


def test_what_it_learnt_is_saved(tmp_path):
    model, _, after, _ = train(Learned(biases=True))
    model.save_to_preset(tmp_path / "own")
    other = keras_stts.VideoVLM.from_preset(str(tmp_path / "own"))
    tiny.same(kernel(other), after)
    assert other.backbone.pruning.biases
    # Another method leaves its weights where they are.
    keras_stts.VideoVLM.from_preset(str(tmp_path / "own"), pruning="evs")


def test_a_preset_of_another_method(tmp_path):
    tiny.shallow().save_to_preset(tmp_path / "stts")
    with pytest.warns(UserWarning, match="no weights of Learned.*untrained"):
        model = keras_stts.VideoVLM.from_preset(
            str(tmp_path / "stts"), pruning=Learned()
        )
    assert len(model.generate(tiny.raw(responses=False))) == 3


def test_what_it_says_it_takes_is_counted():
    free = tiny.shallow(pruning="frame_similarity")
    own = tiny.shallow(pruning=Learned())
    width = 4 * own.backbone.vision_encoder.hidden_dim
    wanted = Learned().flops(tiny.NUM_FRAMES, tiny.NUM_BLOCKS, width)
    assert own.flops()["total"] - free.flops()["total"] == wanted
    assert own.flops(prune_ratio=0) == free.flops(prune_ratio=0)


def test_what_it_takes_inside_the_language_model_is_counted(monkeypatch):
    processor = tiny.preprocessor(prompt_mask=True)
    model = tiny.model(processor=processor, pruning=Halved())
    counted = model.flops()
    monkeypatch.delattr(Halved, "flops")
    free = model.flops()
    wanted = tiny.NUM_FRAMES * tiny.NUM_BLOCKS * model.backbone.hidden_dim
    for part in ("language_model", "total"):
        assert counted[part] - free[part] == wanted
    assert counted["vision_encoder"] == free["vision_encoder"]


@pytest.mark.parametrize("method", [MergeByFeatures(), Halved()])
def test_merging_and_inside_the_language_model(method, tmp_path):
    inside = isinstance(method, Halved)
    processor = tiny.preprocessor(prompt_mask=inside)
    model = tiny.shallow(
        sharp=True, processor=processor, pruning=method, num_layers=2
    )
    model.compile(sampler="greedy")
    answers = model.generate(tiny.raw(responses=False))
    model.save_to_preset(tmp_path / "own")
    other = keras_stts.VideoVLM.from_preset(str(tmp_path / "own"))
    other.compile(sampler="greedy")
    assert other.generate(tiny.raw(responses=False)) == answers
    wanted = tiny.shallow(pruning="tome", num_layers=2).flops()["total"]
    assert (model.flops()["total"] == wanted + 7) != inside
