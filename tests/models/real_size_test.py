"""Molmo2-4B is lowered for GPU and TPU, without its weights in memory."""

import os

import keras
import keras_hub
import pytest

import keras_stts
from benchmarks.aot.abstract import abstract_variables
from benchmarks.molmo2_4b import IDS
from benchmarks.molmo2_4b import WHOLE

if keras.config.backend() != "jax":
    pytest.skip("JAX alone lowers for other machines", allow_module_level=True)

import jax

BATCH_SIZE, NUM_FRAMES, TEXT_LENGTH = 2, 64, 256
VISION_LENGTH = 1 + NUM_FRAMES * (81 + 2 + 8)


def abstract_model(num_layers, vision_num_layers):
    """A model of Molmo2-4B's widths whose variables hold nothing."""
    with abstract_variables():
        last = vision_num_layers - 1
        sizes = {
            **WHOLE,
            **IDS,
            "num_layers": num_layers,
            "vision_num_layers": vision_num_layers,
            "vision_feature_layers": [last, last * 3 // 4],
        }
        backbone = keras_stts.VideoVLMBackbone(
            **sizes, num_frames=NUM_FRAMES, prune_ratio=0.5, dtype="bfloat16"
        )
        model = keras_stts.VideoVLM(backbone, compile=False)
    model.sampler = keras_hub.samplers.get("greedy")
    return model


def abstract(shape, dtype):
    return jax.ShapeDtypeStruct(shape, dtype)


def abstract_batch():
    frames = (BATCH_SIZE, NUM_FRAMES)
    text, vision = (BATCH_SIZE, TEXT_LENGTH), (BATCH_SIZE, VISION_LENGTH)
    x = {
        "videos": abstract((*frames, 378, 378, 3), "uint8"),
        "frame_mask": abstract(frames, "bool"),
        "vision_token_ids": abstract(vision, "int32"),
        "vision_mask": abstract(vision, "bool"),
        "token_ids": abstract(text, "int32"),
        "padding_mask": abstract(text, "bool"),
    }
    return x, abstract(text, "int32"), abstract(text, "float32")


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
    weights = [abstract(v.shape, v.dtype) for v in model.trainable_variables]
    x, y, sample_weight = abstract_batch()
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
    assert model.backbone.vision_feature_layers == [24, 18]
    assert round(model.count_params() / 1e9, 1) == 4.9
    check(model)
