"""Molmo2-4B is lowered for GPU and TPU, without its weights in memory."""

import os

import keras
import pytest

from benchmarks.aot import abstract
from benchmarks.molmo2_4b import IDS
from benchmarks.molmo2_4b import WHOLE

if keras.config.backend() != "jax":
    pytest.skip("JAX alone lowers for other machines", allow_module_level=True)

import jax

BATCH_SIZE, NUM_FRAMES, TEXT_LENGTH = 2, 64, 256
VISION_LENGTH = 1 + NUM_FRAMES * (81 + 2 + 8)


def abstract_model(num_layers, vision_num_layers):
    """A model of Molmo2-4B's widths whose variables hold nothing."""
    last = vision_num_layers - 1
    sizes = {
        **WHOLE,
        **IDS,
        "num_layers": num_layers,
        "vision_num_layers": vision_num_layers,
        "vision_feature_layers": [last, last * 3 // 4],
    }
    return abstract.make_model(sizes, NUM_FRAMES, prune_ratio=0.5)


def train_step(model):
    """Weights and a batch to the loss and weights one step later."""
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )

    def loss(weights, x, y, sample_weight):
        logits, _, losses = model.stateless_call(
            weights, [], x, training=True, return_losses=True
        )
        return cross_entropy(y, logits, sample_weight) + sum(losses)

    def step(weights, *batch):
        value, gradients = jax.value_and_grad(loss)(weights, *batch)
        new = [w - 1e-5 * g for w, g in zip(weights, gradients)]
        return value, new

    return step


def generate_step(model):
    def step(weights, x):
        mapping = list(zip(model.trainable_variables, weights))
        with keras.StatelessScope(state_mapping=mapping):
            return model.generate_step(x, stop_token_ids=(151645,))

    return step


def lower(function, *arguments):
    return jax.export.export(jax.jit(function), platforms=["tpu", "cuda"])(
        *arguments
    )


def check(model):
    assert not model.non_trainable_variables
    assert all(v._value is None for v in model.variables)
    weights = abstract.structs(model.trainable_variables)
    x, y, sample_weight = abstract.make_batch(model, BATCH_SIZE, TEXT_LENGTH)
    assert x["vision_token_ids"].shape == (BATCH_SIZE, VISION_LENGTH)
    exported = lower(train_step(model), weights, x, y, sample_weight)
    loss, *new = exported.out_avals
    assert loss.shape == () and len(new) == len(weights)
    for before, after in zip(weights, new):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
    check_no_whole_attention(exported.mlir_module())
    exported = lower(generate_step(model), weights, x)
    text = (BATCH_SIZE, TEXT_LENGTH)
    assert [aval.shape for aval in exported.out_avals] == [text, text]


def check_no_whole_attention(module):
    """Logits are of the text alone, none of frames to other frames."""
    kept = 81 * NUM_FRAMES // 2
    assert f"tensor<{BATCH_SIZE}x{TEXT_LENGTH}x151936x" in module
    assert f"{kept * 9}x{kept * 9}x" not in module
    assert f"x{VISION_LENGTH - kept}x151936x" not in module


def test_widths_of_molmo2_4b():
    check(abstract_model(num_layers=2, vision_num_layers=6))


@pytest.mark.skipif(
    os.environ.get("KERAS_STTS_LARGE") != "1",
    reason="takes a minute; set KERAS_STTS_LARGE=1",
)
def test_all_of_molmo2_4b():
    model = abstract_model(num_layers=36, vision_num_layers=25)
    assert model.backbone.vision_encoder.feature_layers == (24, 18)
    assert round(model.count_params() / 1e9, 1) == 4.9
    check(model)
