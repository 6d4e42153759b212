import keras
import numpy as np
import pytest

from keras_stts import config
from keras_stts import ops
from keras_stts.kernels import choice
from tests.harness import softmax_attention
from tests.harness import to_numpy


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(config, "_chosen", [])
    monkeypatch.setattr(config, "_elsewhere", [False])
    monkeypatch.delenv("KERAS_STTS_ATTENTION", raising=False)


def test_attention_runs_by_what_is_chosen():
    query = np.random.default_rng(0).normal(size=(2, 9, 2, 8)).astype("float32")
    assert config.attention() == "auto"
    config.set_attention("chunked")
    assert config.attention() == "chunked"
    got = to_numpy(ops.attention(query, query, query))
    wanted = softmax_attention(query, query, query, np.ones((1, 1, 9, 9), bool))
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_environment_variable(monkeypatch):
    monkeypatch.setenv("KERAS_STTS_ATTENTION", "chunked")
    assert config.attention() == "chunked"
    config.set_attention("auto")
    assert config.attention() == "auto"
    config._chosen.clear()
    monkeypatch.setenv("KERAS_STTS_ATTENTION", "fast")
    with pytest.raises(ValueError, match="KERAS_STTS_ATTENTION.*'fast'"):
        config.attention()


def test_what_cannot_be_chosen():
    with pytest.raises(ValueError, match="\"chunked\".*Received: 'flash'"):
        config.set_attention("flash")
    other = "torch" if keras.config.backend() != "torch" else "cudnn"
    with pytest.raises(ValueError, match=f"{other!r} needs the backend"):
        config.set_attention(other)


@pytest.mark.parametrize("name, device", [("pallas", "TPU"), ("cudnn", "GPU")])
@pytest.mark.skipif(keras.config.backend() != "jax", reason="is about JAX")
def test_kernels_of_devices_that_are_not_here(name, device):
    query = np.ones((1, 4, 2, 8), "float32")
    config.set_attention(name)
    message = f"{name!r} needs an? .*{device}.*JAX runs on cpu.*'auto'"
    with pytest.raises(ValueError, match=message):
        ops.attention(query, query, query)
    config.set_attention(name, elsewhere=True)
    assert choice.chosen_kernel() == name


@pytest.mark.parametrize(
    "platform, capability, kernel",
    [
        ("gpu", "9.0", "cudnn"),
        ("gpu", "7.5", "chunked"),
        ("gpu", "gfx942", "chunked"),
        ("tpu", None, "pallas"),
        ("cpu", None, "chunked"),
    ],
)
@pytest.mark.skipif(keras.config.backend() != "jax", reason="is about JAX")
def test_kernel_of_a_device(monkeypatch, caplog, platform, capability, kernel):
    import types

    import jax

    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    monkeypatch.setattr(choice, "_said", set())
    assert choice.chosen_kernel() == kernel
    said = "not fused" in caplog.text
    assert said == (platform == "gpu" and kernel == "chunked")
