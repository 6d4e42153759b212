import keras
import numpy as np
import pytest

from keras_stts.layers import AuxiliaryLoss
from keras_stts.layers import ScorerMLP
from tests.harness import to_numpy

SCORES = np.array([[[0.5], [0.75]]], "float32")
SIMILARITY = np.array([[[0.0], [0.5]]], "float32")  # An error of 1/16.
FALLING = (1.0, 0.75, 0.5, 0.25, 0.0, 0.0)


def schedule():
    return keras.optimizers.schedules.PolynomialDecay(
        1.0, decay_steps=4, end_learning_rate=0.0
    )


def test_loss_is_added_and_inputs_handed_on():
    layer = AuxiliaryLoss(coefficient=0.5)
    inputs = {"a": np.ones(3), "b": [np.zeros((2, 2))]}
    outputs = layer(inputs, SCORES, SIMILARITY)
    keras.tree.assert_same_structure(inputs, outputs)
    for one, other in zip(
        keras.tree.flatten(inputs), keras.tree.flatten(outputs)
    ):
        np.testing.assert_array_equal(one, to_numpy(other))
    assert float(to_numpy(layer.losses[0])) == 0.5 / 16
    assert float(to_numpy(layer.value)) == 1 / 16


def test_float64_scores_of_numpy():
    layer = AuxiliaryLoss()
    layer(SCORES, SCORES.astype("float64"), SIMILARITY.astype("float64"))
    assert float(to_numpy(layer.losses[0])) == 0.5 / 16


def test_inputs_keep_their_dtype():
    layer = AuxiliaryLoss(dtype="bfloat16")
    hidden = keras.ops.ones((1, 2), dtype="float16")
    assert "float16" in str(layer(hidden, SCORES, SIMILARITY).dtype)
    assert "float32" in str(layer.losses[0].dtype)


def scheduled_model(coefficient):
    """A model with nothing but the loss of given scores."""
    scores, similarity = keras.Input((2, 1)), keras.Input((2, 1))
    out = AuxiliaryLoss(coefficient, name="aux")(scores, scores, similarity)
    model = keras.Model([scores, similarity], out)
    model.compile("sgd")
    return model


@pytest.mark.filterwarnings("ignore:.*any trainable weights")
def test_coefficient_falls_as_training_goes():
    model = scheduled_model(schedule())
    inputs = [np.repeat(SCORES, 2, axis=0), np.repeat(SIMILARITY, 2, axis=0)]
    history = model.fit(inputs, epochs=len(FALLING), verbose=0)
    np.testing.assert_allclose(
        history.history["loss"], np.array(FALLING) / 16, atol=1e-6
    )
    iterations = model.get_layer("aux").iterations
    assert int(to_numpy(iterations.value)) == len(FALLING)


def test_evaluation_is_not_training():
    layer = AuxiliaryLoss(schedule())
    for training, iterations in ((False, 0), (True, 1), (None, 1), (True, 2)):
        layer(SCORES, SCORES, SIMILARITY, training=training)
        assert int(to_numpy(layer.iterations.value)) == iterations
    wanted = FALLING[1] / 16  # That of the call, before the step is counted.
    np.testing.assert_allclose(to_numpy(layer.losses[0]), wanted, rtol=1e-6)


def scorer_model(coefficient):
    inputs = keras.Input((2, 4, 3))
    scores = ScorerMLP(5, aux_coefficient=coefficient, name="mlp")(inputs)
    return keras.Model(inputs, scores)


@pytest.mark.parametrize(
    "saved, loaded",
    [(0.5, schedule), (schedule, 0.5), (None, schedule), (schedule, None)],
)
def test_weights_go_from_one_kind_of_coefficient_to_another(
    saved, loaded, tmp_path
):
    models = [
        scorer_model(kind() if callable(kind) else kind)
        for kind in (saved, loaded)
    ]
    path = tmp_path / "scorer.weights.h5"
    models[0].save_weights(path)
    models[1].load_weights(path)
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 3)).astype("float32")
    one, other = (to_numpy(model(x)) for model in models)
    np.testing.assert_array_equal(one, other)


def test_saved_schedule_goes_on_where_it_was(tmp_path):
    model = scorer_model(schedule())
    model.get_layer("mlp").auxiliary_loss.iterations.assign(3)
    model.save(tmp_path / "scorer.keras")
    loaded = keras.saving.load_model(tmp_path / "scorer.keras")
    mlp = loaded.get_layer("mlp")
    assert int(to_numpy(mlp.auxiliary_loss.iterations.value)) == 3
    assert mlp.auxiliary_loss.coefficient.decay_steps == 4


@pytest.mark.parametrize("coefficient", [-0.5, float("nan")])
def test_coefficient_that_does_not_do(coefficient):
    message = rf"at least 0 or a schedule.*coefficient={coefficient}"
    with pytest.raises(ValueError, match=message):
        AuxiliaryLoss(coefficient)


@pytest.mark.filterwarnings("ignore:.*any trainable weights")
def test_value_is_never_a_tracer():
    layer = AuxiliaryLoss()
    assert layer.value is None
    inputs = [keras.Input((2, 1)), keras.Input((2, 1))]
    model = keras.Model(inputs, layer(inputs[0], *inputs))
    model.compile("sgd", jit_compile=keras.config.backend() != "torch")
    model.fit([SCORES, SIMILARITY], verbose=0)
    assert layer.value is None or float(to_numpy(layer.value)) == 1 / 16
