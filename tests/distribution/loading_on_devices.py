"""Checkpoints are read tensor by tensor into pieces, and saved from them."""

import weakref

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.formats import checkpoint
from tests.models import tiny

LOAD = keras_stts.VideoVLM.from_preset


@pytest.fixture(autouse=True)
def no_distribution():
    yield
    keras.distribution.set_distribution(None)


def pieces(weight):
    """Pairs of what a device holds, and what of the whole it should be."""
    whole = np.asarray(weight.value)
    for shard in weight.value.addressable_shards:
        yield np.asarray(shard.data), whole[shard.index]


def same_weights(one, other):
    assert [w.path for w in one.weights] == [w.path for w in other.weights]
    for weight, wanted in zip(one.weights, other.weights):
        np.testing.assert_array_equal(weight.value, wanted.value)


def test_molmo2_and_back(tmp_path, monkeypatch):
    alone = LOAD(tiny.MOLMO2, prune_ratio=0.5, num_frames=4)
    held, most, make = [0], [0], checkpoint.host_array

    class Array(np.ndarray):
        """An array that can be counted."""

    def let_go():
        held[0] -= 1

    def counted(shape, dtype):
        array = make(shape, dtype).view(Array)
        held[0] += 1
        most[0] = max(most[0], held[0])
        weakref.finalize(array, let_go)
        return array

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "host_array", counted)
        model = LOAD(
            tiny.MOLMO2, prune_ratio=0.5, num_frames=4, distribution="fsdp"
        )
    assert 0 < most[0] <= 2
    kernel = model.backbone.transformer_layers[0].mlp_up.kernel
    assert len(kernel.value.sharding.device_set) == 8
    assert kernel.value.addressable_shards[0].data.size < kernel.value.size
    for weight in model.weights:
        for piece, wanted in pieces(weight):
            np.testing.assert_array_equal(piece, wanted)
    same = [w for w in alone.weights if "scorer" not in w.path]
    ours = [w for w in model.weights if "scorer" not in w.path]
    for weight, wanted in zip(ours, same):
        np.testing.assert_array_equal(weight.value, wanted.value)
    model.export_to_transformers(tmp_path / "molmo2")
    model.save_to_preset(tmp_path / "keras")
    keras.distribution.set_distribution(None)
    for name in ("molmo2", "keras"):
        same_weights(LOAD(tmp_path / name), model)
    again = LOAD(tmp_path / "keras", distribution="fsdp")
    same_weights(again, model)
    for one, other in zip(again.weights, model.weights):
        assert one.value.sharding == other.value.sharding
