"""LoRA, quantization and low precision, with pruning on."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_stts import VideoVLM
from keras_stts.optimizers import PartwiseAdamW
from keras_stts.training.parts import part_of
from tests.gradients import loss_and_gradients
from tests.models import tiny

# Keras turns weights into four bits, on any backend by the same code.
MODES = [
    "int8",
    pytest.param(
        "int4",
        marks=pytest.mark.skipif(
            keras.config.backend() != "torch", reason="Once is enough."
        ),
    ),
]


def values(model):
    return [ops.convert_to_numpy(ops.cast(v, "float32")) for v in model.weights]


def fit(model, epochs=3, rate=0.05):
    """Losses of some epochs on one batch."""
    model.compile(
        optimizer=PartwiseAdamW(rate, {}),
        sampler="greedy",
        run_eagerly=keras.config.backend() == "tensorflow",
    )
    history = model.fit(tiny.raw(), batch_size=3, epochs=epochs, verbose=0)
    return history.history["loss"]


def test_lora(tmp_path):
    model = tiny.shallow(sharp=True)
    start = model.get_weights()
    model.enable_lora(2)
    before = values(model)
    trained = {v.path for v in model.trainable_variables}
    assert all("lora" in path or "scorer" in path for path in trained)
    assert {part_of(v) for v in model.trainable_variables} == {
        "scorer",
        "vision_encoder",
        "connector",
        "language_model",
    }
    losses = fit(model)
    assert losses[-1] < losses[0]
    for variable, old, new in zip(model.weights, before, values(model)):
        moved = not np.array_equal(old, new)
        assert moved <= (variable.path in trained), variable.path
    answers = model.generate(tiny.raw(responses=False))
    path = str(tmp_path / "tuned.lora.h5")
    model.save_lora_weights(path)
    other = tiny.shallow(sharp=True)
    other.set_weights(start)
    other.load_lora_weights(path)
    for one, two in zip(model.backbone.weights, other.backbone.weights):
        tiny.same(one, two)
    other.compile(sampler="greedy")
    assert other.generate(tiny.raw(responses=False)) == answers
    other.backbone.load_lora_weights(path)  # They are all of the backbone.


def test_lora_of_chosen_layers(tmp_path):
    model = tiny.shallow()
    model.enable_lora(2, ["lm_head", "gate", "token_embedding"])
    trained = {v.path for v in model.trainable_variables}
    trained = {path for path in trained if "scorer" not in path}
    weights = (
        "connector/gate/lora_kernel",
        "lm_head/lora_kernel",
        "language_model/token_embedding/lora_embeddings",
    )
    assert trained == {
        f"{weight}_{factor}" for weight in weights for factor in "ab"
    }
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, 0.5))
    path = str(tmp_path / "tuned.lora.h5")
    model.save_lora_weights(path)
    other = tiny.shallow()
    other.load_lora_weights(path)
    assert {v.path for v in other.trainable_variables} == {
        v.path for v in model.trainable_variables
    }
    for one, two in zip(model.weights, other.weights, strict=True):
        tiny.same(one, two)
    # A model that is shown nothing has its layers in another order.
    text = tiny.shallow(num_frames=0)
    text.load_lora_weights(path)
    factor = text.backbone.connector.gate.lora_kernel_a
    tiny.same(factor, np.full(factor.shape, 0.5))
    with pytest.raises(ValueError, match="lm_head is unknown"):
        tiny.shallow().backbone.load_lora_weights(path)


def test_lora_files_of_others(tmp_path):
    path = str(tmp_path / "tuned.lora.h5")
    model = tiny.shallow()
    with pytest.raises(ValueError, match="without any. Call `enable_lora"):
        model.save_lora_weights(path)
    with pytest.raises(FileNotFoundError, match="must exist. Received"):
        model.load_lora_weights(path)
    model.enable_lora(2)
    with pytest.raises(ValueError, match=r"must end in `.lora.h5`"):
        model.save_lora_weights(str(tmp_path / "tuned.h5"))
    model.save_lora_weights(path)
    other = tiny.shallow()
    other.enable_lora(2, ["query"])
    with pytest.raises(ValueError, match="/value is unknown"):
        other.load_lora_weights(path)
    other = tiny.shallow()
    other.enable_lora(3)
    with pytest.raises(ValueError, match="of the same rank.*query/lora"):
        other.load_lora_weights(path)
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match="must be a whole HDF5 file"):
        model.load_lora_weights(path)


@pytest.mark.parametrize("names", [["queries"], ["query", "queries"], []])
def test_lora_of_unknown_layers(names):
    if not names:
        tiny.shallow().enable_lora(2, names)  # The default.
        return
    with pytest.raises(ValueError, match="queries is unknown. Known.* query"):
        tiny.shallow().enable_lora(2, names)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("mode", MODES)
def test_quantized(mode, tmp_path):
    model = tiny.shallow(sharp=True)
    x = model.preprocessor(tiny.raw(responses=False))
    before = tiny.run(model, model, x)
    model.quantize(mode)
    after = tiny.run(model, model, x)
    real = x["padding_mask"]
    error = np.abs(after - before)[real].mean() / np.abs(before)[real].mean()
    assert 0 < error < {"int8": 0.2, "int4": 0.8}[mode]
    scorer = model.backbone.pruning.scorer
    assert {v.dtype for v in scorer.weights} == {"float32"}
    kernels = [v for v in model.weights if v.path.endswith("query/kernel")]
    assert {v.dtype for v in kernels if part_of(v) != "scorer"} == {"int8"}
    path = str(tmp_path / "preset")
    model.save_to_preset(path)
    loaded = VideoVLM.from_preset(path)
    tiny.close(tiny.run(loaded, loaded, x), after, atol=1e-3)
    loaded.compile(sampler="greedy")
    assert len(loaded.generate(tiny.raw(responses=False))) == 3


@pytest.mark.parametrize("mode", MODES)
def test_lora_on_quantized_weights(mode):
    model = tiny.shallow(sharp=True)
    model.quantize(mode)
    model.enable_lora(2)
    losses = fit(model)
    assert losses[-1] < losses[0]


def test_rematerialization_changes_no_gradient():
    models = [tiny.shallow(sharp=True, rematerialize=r) for r in (False, True)]
    x, _, _ = models[0].preprocessor(tiny.raw())
    results = [gradients(model, x) for model in models]
    for one, other in zip(*results, strict=True):
        tiny.close(one, other, atol=1e-4 * max(1.0, np.abs(one).max()))
    assert any(np.abs(gradient).max() > 1e-3 for gradient in results[0])


def gradients(model, x):
    """Of the mean square of the logits, in every weight that has one."""

    def loss(scale):
        return ops.mean(ops.square(model(x) * scale))

    _, _, gradients = loss_and_gradients(
        loss, np.float32(1.0), model.trainable_variables
    )
    return [g for g in gradients if g is not None]


def test_rematerialization_learns_and_saves_memory():
    plain, model = (
        tiny.shallow(sharp=True, rematerialize=r) for r in (False, True)
    )
    losses = fit(model)
    assert losses[-1] < losses[0]
    if keras.config.backend() == "torch":
        assert kept_for_backward(model) < 0.6 * kept_for_backward(plain)


def kept_for_backward(model):
    """Bytes that torch keeps of a forward pass."""
    import torch

    kept = {}

    def pack(x):
        kept[x.data_ptr()] = x.nbytes
        return x

    x, _, _ = model.preprocessor(tiny.raw())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        model(x)
    weights = {v.value.data_ptr() for v in model.weights}
    return sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "mixed_bfloat16", "mixed_float16"]
)
def test_low_precision_learns(dtype):
    if dtype == "mixed_float16" and keras.config.backend() == "jax":
        pytest.skip("JAX's attention has no float16 on a CPU.")
    # The sharp model's activations are too large for float16.
    model = tiny.shallow(sharp=dtype != "mixed_float16", dtype=dtype)
    if dtype == "bfloat16":
        with pytest.raises(ValueError, match="beta_2=0.999. Load the model"):
            model.compile(optimizer="adam")
    losses = fit(model)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
