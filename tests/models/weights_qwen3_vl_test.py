"""The table of Qwen3-VL's weights: all of them, where the logits want them."""

import keras
import numpy as np
import pytest

from keras_stts.formats.qwen3_vl.weights import backbone_table
from keras_stts.formats.qwen3_vl.weights import head_table
from tests.models import qwen3_vl as tiny


def test_table_is_that_of_transformers():
    pytest.importorskip("torch")
    reference = tiny.reference()
    state = {k: v.detach().numpy() for k, v in reference.state_dict().items()}
    model, loaded = tiny.model(), tiny.model()
    table = {**backbone_table(model.backbone), **head_table(model, tied=False)}
    assert {name for (name,) in table} == set(state)
    for (name,), variables in table.items():
        value = state[name]
        for variable, part in zip(
            variables, np.split(value, len(variables)), strict=True
        ):
            is_kernel = variable.name == "kernel"
            part = part.reshape(len(part), -1).T if is_kernel else part
            variable.assign(part)
    tiny.load(loaded, reference)
    for ours, wanted in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours),
            keras.ops.convert_to_numpy(wanted),
            err_msg=ours.path,
        )
