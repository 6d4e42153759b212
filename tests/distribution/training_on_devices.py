"""What a model does on eight devices is what it does on one."""

import keras
import numpy as np
import pytest

import keras_stts
from tests.models import tiny

COUNT = 11  # Rows: eight, and three that eight devices do not divide.
KINDS = ("data", "fsdp", "model")


def distribution(kind):
    devices = keras.distribution.list_devices()
    if kind == "data":
        return keras.distribution.DataParallel(devices=devices)
    shape = (8, 1) if kind == "fsdp" else (2, 4)
    mesh = keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)
    return keras.distribution.ModelParallel(
        layout_map=keras_stts.VideoVLMBackbone.get_layout_map(mesh),
        batch_dim_name="batch",
    )


@pytest.fixture(autouse=True)
def no_distribution():
    yield
    keras.distribution.set_distribution(None)


def data():
    lengths = [4, 2, 3, 1, 4, 3, 2, 4, 1, 4, 3]
    return tiny.raw(lengths[:COUNT])


def batches(x):
    """The same rows, in batches of a generator."""
    for first in range(0, COUNT, 8):
        yield {name: value[first : first + 8] for name, value in x.items()}


def run():
    """What `fit`, `evaluate`, `predict` and `generate` give."""
    model = tiny.model()
    tiny.compile_to_train(model, rate=0.01)
    x = data()
    fit = {"batch_size": 8, "shuffle": False, "verbose": 0}
    history = model.fit(x, epochs=2, validation_data=x, **fit).history
    found = {f"fit {name}": values for name, values in history.items()}
    scores = model.evaluate(batches(x), verbose=0, return_dict=True)
    found |= {f"evaluate {name}": value for name, value in scores.items()}
    found["predict"] = model.predict(x, batch_size=8, verbose=0)
    found["weights"] = np.concatenate(
        [np.ravel(weight) for weight in model.get_weights()]
    )
    for weight in model.trainable_variables:  # So that answers differ.
        if len(weight.shape) > 1 and "scorer" not in weight.path:
            weight.assign(4 * weight.value)
    asked = {name: x[name][:3] for name in ("videos", "prompts")}
    found["answers"] = model.generate(asked)
    found["answer"] = model.generate({k: v[0] for k, v in asked.items()})
    return found


@pytest.fixture(scope="module")
def alone():
    return run()


@pytest.mark.parametrize("kind", KINDS)
def test_same_as_one_device(alone, kind):
    with distribution(kind).scope():
        found = run()
    assert found.keys() == alone.keys()
    assert found.pop("answers") == alone["answers"]
    assert found.pop("answer") == alone["answer"]
    for name, values in found.items():
        np.testing.assert_allclose(
            values, alone[name], rtol=1e-5, atol=1e-5, err_msg=name
        )
