"""What a user's own method may have wrong is said, and how to mend it."""

import keras
import pytest
from keras import ops

import keras_stts
from tests.models import tiny

register = keras.saving.register_keras_serializable("tests_of_mistakes")
Ranking = keras_stts.pruning.Ranking


@register
class LacksConfig(Ranking):
    def __init__(self, ratio=None, *, power=2, **kwargs):
        super().__init__(ratio, **kwargs)
        self.power = power

    def call(self, blocks, frames):
        return ops.sum(blocks**self.power, axis=-1)


@register
class LacksBase(Ranking):
    def __init__(self):
        self.power = 2


@register
class OldArguments(Ranking):
    def call(self, blocks, frame_mask, segments):
        return ops.sum(blocks, axis=-1)


@register
class OneScoreTooMany(Ranking):
    def call(self, blocks, frames):
        return blocks[..., :1]


@register
class OneBiasForAll(Ranking):
    def call(self, blocks, frames):
        return blocks[..., 0]

    def attention_bias(self, scores, frames):
        return scores[:, 0]


@register
class BuiltLate(Ranking):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(1, name="dense")

    def call(self, blocks, frames):
        return self.dense(blocks)[..., 0]


@register
class MergesNothing(keras_stts.pruning.Merging):
    def merge(self, x, key, merged, count):
        return x, merged


@register
class RanksHeads(keras_stts.pruning.LanguagePruning):
    def __init__(self, layer=1):
        super().__init__([keras_stts.pruning.Stage(layer, 0.5)])
        self.layer = layer

    def rank(self, logits, ranked):
        return ops.softmax(logits, axis=-1)

    def get_config(self):
        return {"layer": self.layer}


def unregistered():
    class Unregistered(Ranking):
        pass

    return Unregistered()


@pytest.mark.parametrize(
    "make, message",
    [
        (LacksConfig, 'config lacks power. Write .*"power": self.power'),
        (LacksBase, r"LacksBase without a `ratio`. Call `super\(\).__init__"),
        (OldArguments, r"`call\(blocks, frames\)`. Received: OldArguments"),
        (unregistered, "must be registered"),
    ],
)
def test_what_is_seen_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        keras_stts.pruning.get(make())


@pytest.mark.parametrize(
    "make, message",
    [
        (OneScoreTooMany, r"`OneScoreTooMany.call` must return .* \(B, T, P\)"),
        (OneBiasForAll, "`OneBiasForAll.attention_bias` must return"),
        (BuiltLate, "BuiltLate, whose layer 'dense' is not built"),
        (MergesNothing, "`MergesNothing.merge` must leave n - count tokens"),
        (RanksHeads, r"`RanksHeads.rank` must return a tensor \(B, S\)"),
    ],
)
def test_what_is_seen_in_a_model(make, message):
    inside = make is RanksHeads
    processor = tiny.preprocessor(prompt_mask=inside)
    with pytest.raises((ValueError, RuntimeError), match=message):
        model = tiny.shallow(processor=processor, pruning=make(), num_layers=2)
        model.generate(tiny.raw(responses=False))
