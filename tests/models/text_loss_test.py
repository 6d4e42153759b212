"""Training and testing without ever having all logits of a text."""

import keras
import numpy as np
import pytest

from keras_stts.training import text_loss
from keras_stts.training.text_loss import TextAccuracy
from keras_stts.training.text_loss import TextCrossentropy
from tests.tiny import SHALLOW
from tests.tiny import tiny_batch
from tests.tiny import tiny_model

LENGTH, ROWS, WORDS = 7, 2, 40
CHUNK = ROWS * 3 * WORDS * 4  # Bytes of the logits of three tokens a row.


@pytest.fixture(scope="module")
def model():
    """A model that is not run."""
    return tiny_model()


def stepped(monkeypatch, most, change=None, **compiled):
    """What a step of training, and then one of testing, give."""
    monkeypatch.setattr(text_loss, "MOST_BYTES", most)
    keras.utils.set_random_seed(0)
    model = tiny_model(**SHALLOW)
    if change is not None:
        change(model)
    compiled = {"optimizer": keras.optimizers.SGD(0.5), **compiled}
    model.compile(**compiled)
    shapes = watch(monkeypatch)
    x, y, weights = tiny_batch(model, ROWS, LENGTH)
    y = np.where(np.arange(LENGTH) == 1, 3, y)
    logs = model.train_on_batch(x, y, weights, return_dict=True)
    logs |= {
        f"test_{name}": value
        for name, value in model.evaluate(
            x, y, ROWS, weights, verbose=0, return_dict=True
        ).items()
    }
    trained = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    return logs, trained, shapes


def watch(monkeypatch):
    """Set of numbers of tokens that the cross-entropy was asked about."""
    found = set()
    plain = keras.losses.sparse_categorical_crossentropy

    def watched(labels, logits, **kwargs):
        found.add(tuple(logits.shape))
        return plain(labels, logits, **kwargs)

    monkeypatch.setattr(
        keras.losses, "sparse_categorical_crossentropy", watched
    )
    return found


@pytest.mark.parametrize(
    "change",
    [
        None,
        pytest.param(
            lambda model: model.enable_lora(2, ["lm_head", "query"]),
            marks=pytest.mark.once,
        ),
    ],
)
def test_chunks_give_the_loss_and_gradients_of_whole_texts(monkeypatch, change):
    wanted, weights, asked = stepped(monkeypatch, 2**28, change)
    assert not asked
    found, changed, asked = stepped(monkeypatch, CHUNK, change)
    # Three chunks, the last filled up or shorter.
    assert (ROWS, 3, WORDS) in asked
    assert max(tokens for _, tokens, _ in asked) == 3
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, atol=1e-7)
    for one, other in zip(weights, changed):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "compiled, chunks",
    [
        ({}, True),
        ({"loss": "sparse_categorical_crossentropy"}, False),
        ({"weighted_metrics": ["sparse_categorical_accuracy"]}, False),
        ({"metrics": ["sparse_categorical_accuracy"]}, False),
        ({"weighted_metrics": None}, True),
    ],
)
def test_what_needs_logits_gets_them(monkeypatch, model, compiled, chunks):
    monkeypatch.setattr(text_loss, "MOST_BYTES", CHUNK)
    model.compile(**compiled)
    batch = tiny_batch(model, ROWS, LENGTH)
    x, y, _ = model._with_labels(batch)
    assert set(x) - set(batch[0]) == ({"labels"} if chunks else set())
    assert y is batch[1]
    assert model._with_labels((batch[0],)) == (batch[0],)


def test_from_logits_they_are_those_of_keras():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 5)).astype("float32")
    labels, weights = rng.integers(0, 5, (2, 3)), rng.random((2, 3))
    plain = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    loss = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(TextCrossentropy())
    )
    np.testing.assert_allclose(
        loss(labels, logits, weights), plain(labels, logits, weights), rtol=1e-6
    )
    metrics = TextAccuracy(), keras.metrics.SparseCategoricalAccuracy()
    for metric in metrics:
        metric.update_state(labels, logits, weights)
    assert float(metrics[0].result()) == float(metrics[1].result())
    assert metrics[0].name == metrics[1].name


@pytest.mark.once
@pytest.mark.parametrize(
    "shape, tokens",
    [((1, 256), 256), ((1, 1024), 342), ((8, 1024), 54), ((None, 256), 256)],
)
def test_chunks_of_real_sizes(shape, tokens):
    assert text_loss.chunk_length(shape, 151936) == tokens
