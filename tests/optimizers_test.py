"""The recipe's optimizer: rates and clipping of parts."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_stts.optimizers import PartwiseAdamW

# Two variables a part, of which the scorer's gradients are small.
GRADIENTS = {
    "scorer": [[0.3, 0.0], [0.0, 0.4]],
    "vision_encoder": [[3.0, 0.0], [0.0, 4.0]],
    "connector": [[6.0, 0.0], [0.0, 8.0]],
    "transformer_layer_0": [[0.0, 12.0], [5.0, 0.0]],
}
# Steps are the gradients themselves.
PLAIN = {"learning_rate": 1e6, "epsilon": 1e6, "multipliers": {}}
PLAIN |= {"beta_1": 0.0, "beta_2": 0.0, "weight_decay": 0.0}
NORMS = dict(zip(GRADIENTS, (0.5, 5.0, 10.0, 13.0)))


def variables():
    found = []
    for scope in GRADIENTS:
        with keras.name_scope(scope):
            found += [keras.Variable(np.zeros(2, "float32")) for _ in range(2)]
    return found


def steps(batches, **kwargs):
    """How far variables go that are changed by their gradients alone."""
    optimizer = PartwiseAdamW(**PLAIN, **kwargs)
    found = variables()
    optimizer.build(found)
    for batch in batches:
        gradients = [g for pair in batch.values() for g in pair]
        optimizer.apply(
            [ops.convert_to_tensor(g, "float32") for g in gradients]
        )
    return -np.stack([ops.convert_to_numpy(v) for v in found]).reshape(-1, 2, 2)


def clipped(gradients, norms=NORMS):
    return np.stack(
        [np.array(gradients[p]) / max(1.0, norms[p]) for p in GRADIENTS]
    )


def test_each_part_is_clipped_to_its_norm():
    np.testing.assert_allclose(
        steps([GRADIENTS]), clipped(GRADIENTS), rtol=1e-4
    )


@pytest.mark.parametrize(
    "kwargs",
    [{"clipnorm": None}, {"clipvalue": 100.0}, {"global_clipnorm": 100.0}],
    ids=str,
)
def test_other_clipping(kwargs):
    wanted = np.stack([np.array(pair) for pair in GRADIENTS.values()])
    np.testing.assert_allclose(steps([GRADIENTS], **kwargs), wanted, rtol=1e-4)


def test_accumulated_gradients_are_clipped_together():
    nothing = {p: np.zeros((2, 2)) for p in GRADIENTS}
    moved = steps([GRADIENTS, nothing], gradient_accumulation_steps=2)
    halves = {p: np.array(pair) / 2 for p, pair in GRADIENTS.items()}
    norms = {p: norm / 2 for p, norm in NORMS.items()}
    np.testing.assert_allclose(moved, clipped(halves, norms), rtol=1e-4)


def test_gradients_of_repeated_rows_are_added():
    tf = pytest.importorskip("tensorflow")
    if keras.config.backend() != "tensorflow":
        pytest.skip("TensorFlow's alone name rows.")
    table = keras.Variable(np.zeros((3, 1), "float32"))
    optimizer = PartwiseAdamW(**PLAIN)
    rows = tf.IndexedSlices(tf.constant([[3.0], [1.0]]), [2, 2], [3, 1])
    optimizer.apply([rows], [table])
    np.testing.assert_allclose(table.numpy(), [[0], [0], [-1]], rtol=1e-4)


@pytest.mark.once
def test_config():
    optimizer = PartwiseAdamW(clipvalue=0.5)
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()
    assert again.clipnorm is None and PartwiseAdamW().clipnorm == 1.0
