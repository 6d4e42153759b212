"""Rotary embeddings are transformers', or refused."""

import keras
import numpy as np
import pytest
import torch

from keras_stts.language.rope import FIELDS
from keras_stts.language.rope import OF_RUN_LENGTH
from keras_stts.language.rope import RotaryEmbedding
from keras_stts.language.rope import frequencies
from tests.models.hugging_face import molmo2
from tests.tiny import tiny_model

HEAD_DIM, BASE, LENGTH = 16, 10000.0, 64

YARN = {"rope_type": "yarn", "factor": 4.0}
YARN["original_max_position_embeddings"] = 16
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
SCALINGS = [
    {"rope_type": "linear", "factor": 3.0},
    {"rope_type": "proportional"},
    {"rope_type": "proportional", "partial_rotary_factor": 0.7, "factor": 2.0},
    YARN,
    {**YARN, "factor": 0.5},
    {**YARN, "original_max_position_embeddings": 4096},
    {**YARN, "original_max_position_embeddings": 2},
    {**YARN, "truncate": False},
    {**YARN, "truncate": None},
    {**YARN, "beta_fast": 8, "beta_slow": 2},
    {**YARN, "attention_factor": 1.3},
    {**YARN, "attention_factor": 1},
    {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2},
    {**YARN, "mscale": 0.7},
    {**YARN, "mscale_all_dim": 0.7},
    LLAMA3,
    {**LLAMA3, "original_max_position_embeddings": 16, "factor": 2},
    {**LLAMA3, "high_freq_factor": 50.0},
]


def theirs(scaling):
    """transformers' rotary embedding of a text model."""
    config = molmo2.Molmo2TextConfig(
        hidden_size=32,
        num_attention_heads=2,
        head_dim=HEAD_DIM,
        max_position_embeddings=LENGTH,
        rope_parameters={**scaling, "rope_theta": BASE},
    )
    modeling = molmo2.modeling_molmo2
    return modeling.Molmo2RotaryEmbedding(config)


@pytest.mark.once
@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_frequencies(scaling):
    wanted = theirs(scaling)
    values, factor = frequencies(HEAD_DIM, BASE, scaling)
    assert values.dtype == "float32"
    np.testing.assert_allclose(values, wanted.inv_freq, rtol=1e-6)
    assert factor == pytest.approx(wanted.attention_scaling, rel=1e-6)


@pytest.mark.once
def test_all_types_are_known_or_refused():
    types = {"default", *molmo2.modeling_molmo2.ROPE_INIT_FUNCTIONS}
    assert types == {*FIELDS, *OF_RUN_LENGTH}


@pytest.mark.parametrize(
    "scaling", [None, {**YARN, "attention_factor": 1.3}], ids=str
)
def test_rotation(scaling):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 3, HEAD_DIM)).astype("float32")
    positions = rng.integers(0, LENGTH, (2, 5)).astype("int32")
    layer = RotaryEmbedding(HEAD_DIM, BASE, scaling)
    ours = layer(
        keras.ops.convert_to_tensor(x),
        positions=keras.ops.convert_to_tensor(positions),
    )
    embedding = theirs(scaling or {"rope_type": "default"})
    x = torch.from_numpy(x)
    cos, sin = embedding(x, torch.from_numpy(positions))
    apply = molmo2.modeling_molmo2.apply_rotary_pos_emb
    wanted, _ = apply(x, x, cos, sin, unsqueeze_dim=2)
    ours = keras.ops.convert_to_numpy(ours)
    np.testing.assert_allclose(ours, wanted.numpy(), atol=1e-5)
    config = layer.get_config()
    assert RotaryEmbedding.from_config(config).get_config() == config


@pytest.mark.once
@pytest.mark.parametrize(
    "scaling, rule",
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "'dynamic'.*each run"),
        (
            {"rope_type": "longrope", "long_factor": [1], "short_factor": [2]},
            "'longrope'.*each run",
        ),
        ({"rope_type": "su", "factor": 2.0}, "one type, default.*'su'"),
        ({"rope_type": "linear", "type": "yarn", "factor": 2.0}, "one type"),
        ({"rope_type": "linear"}, "factor is missing"),
        ({"rope_type": "linear", "factor": "2"}, "factor is no positive"),
        ({"rope_type": "linear", "factor": -2}, "factor is no positive"),
        ({"rope_type": "linear", "factor": True}, "factor is no positive"),
        ({"rope_type": "linear", "factor": 2, "beta": 3}, "beta is unknown"),
        ({"rope_type": "default", "factor": 2}, "factor is unknown"),
        (
            {"rope_type": "yarn", "factor": 2},
            "original_max_position_embeddings is missing",
        ),
        ({**YARN, "partial_rotary_factor": 0.5}, "partial_rotary_factor is un"),
        ({**LLAMA3, "low_freq_factor": 4}, "must be greater than"),
        ({**YARN, "rope_theta": 500.0}, "must be `rope_max_wavelength`"),
    ],
    ids=str,
)
def test_others_are_refused(scaling, rule):
    with pytest.raises(ValueError, match=rule):
        frequencies(HEAD_DIM, BASE, scaling)
    with pytest.raises(ValueError, match=rule):
        tiny_model(rope_scaling=scaling)


@pytest.mark.once
def test_heads_are_even():
    with pytest.raises(ValueError, match="`head_dim` must be even.*=7"):
        tiny_model(head_dim=7)
    with pytest.raises(ValueError, match="greater than 1. Received: 1"):
        tiny_model(rope_max_wavelength=1)
