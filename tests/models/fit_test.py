"""Training, from everything that `fit` takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_stts.data.video import read_video
from keras_stts.datasets.shapes import write_video
from keras_stts.ops import auxiliary_loss
from tests.models import tiny

LENGTHS = (4, 2, 3)


@pytest.fixture(scope="module")
def model():
    """One that trains at rate 0: its loss tells what it was given."""
    return tiny.compile_to_train(tiny.shallow(sharp=True), rate=0.0)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [str(folder / f"{i}.mp4") for i in range(len(LENGTHS))]
    for i, (path, length) in enumerate(zip(paths, LENGTHS)):
        write_video(path, tiny.video(i, length), fps=2.0, scale=2)
    return paths


@pytest.fixture(scope="module")
def raw(paths):
    """The videos of `paths`, as arrays."""
    videos = [read_video(path, tiny.NUM_FRAMES)[0] for path in paths]
    return {**tiny.raw(LENGTHS), "videos": videos}


@pytest.fixture(scope="module")
def batch(model, raw):
    return model.preprocessor(raw)


@pytest.fixture(scope="module")
def wanted(model, batch):
    """What every way to pass the same data must report."""
    return model.evaluate(
        *batch[:1],
        y=batch[1],
        sample_weight=batch[2],
        verbose=0,
        return_dict=True,
    )


def check(model, wanted, x, epochs=1, **kwargs):
    """Fit and evaluate `x`, which holds what `wanted` was made of."""
    kwargs.setdefault("batch_size", len(LENGTHS))
    history = model.fit(x, epochs=epochs, verbose=0, **kwargs).history
    assert len(history["loss"]) == epochs
    for name, value in wanted.items():
        np.testing.assert_allclose(history[name], value, atol=1e-5)
    return history


class Batches(keras.utils.PyDataset):
    def __init__(self, batch, **kwargs):
        super().__init__(**kwargs)
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


def forever(batch):
    while True:
        yield batch


def tf_batches(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(len(LENGTHS))


def test_lists_of_arrays_and_paths(model, wanted, raw, paths):
    check(model, wanted, raw)
    check(model, wanted, {**raw, "videos": paths})
    check(model, wanted, {**raw, "videos": [paths[0], *raw["videos"][1:]]})


def test_preprocessed(model, wanted, batch):
    x, y, sample_weight = batch
    check(model, wanted, x, y=y, sample_weight=sample_weight)
    check(model, wanted, Batches(batch), batch_size=None)
    check(model, wanted, tf_batches(batch), batch_size=None)


def test_datasets_of_raw_videos(model, wanted, raw, paths):
    check(model, wanted, Batches(raw), batch_size=None)
    check(model, wanted, Batches(raw, workers=2), batch_size=None)
    x = {**raw, "videos": paths}
    check(model, wanted, tf_batches(x), batch_size=None)
    unbatched = tf.data.Dataset.from_tensor_slices(x)
    mapped = unbatched.map(model.preprocessor).batch(len(LENGTHS))
    check(model, wanted, mapped, batch_size=None)


@pytest.mark.parametrize("kind", ["raw", "batch"])
def test_generator(model, wanted, kind, request):
    data = request.getfixturevalue(kind)
    check(
        model,
        wanted,
        forever(data),
        batch_size=None,
        steps_per_epoch=1,
        epochs=2,
    )


def test_one_array(model):
    x = tiny.raw((4, 4, 4))
    videos = np.stack(x["videos"])
    wanted = model.evaluate(x, batch_size=3, verbose=0, return_dict=True)
    check(model, wanted, {**x, "videos": videos})
    check(model, wanted, {**x, "videos": ops.convert_to_tensor(videos)})
    check(model, wanted, tf_batches({**x, "videos": videos}), batch_size=None)


def test_validation(model, wanted, raw, batch, capsys):
    wanted = {f"val_{name}": value for name, value in wanted.items()}
    x, *labels = batch
    for data in (raw, (x, *labels), Batches(raw), tf_batches(batch)):
        check(model, wanted, raw, validation_data=data)
    twice = {name: values + values for name, values in raw.items()}
    check(model, wanted, twice, validation_split=0.5)
    check(model, {}, raw, validation_data=raw, validation_batch_size=1)
    model.fit(raw, batch_size=3, verbose=2)
    assert "aux_loss: " in capsys.readouterr().out


def test_all_layers_are_built(model):
    """Else Keras runs the model once, uncompiled, before it predicts."""
    assert all(layer.built for layer in model._flatten_layers())


def test_on_batch(model, wanted, raw, batch):
    x, y, sample_weight = batch
    for values in (
        model.test_on_batch(raw, return_dict=True),
        model.test_on_batch(x, y, sample_weight, return_dict=True),
    ):
        np.testing.assert_allclose(values["loss"], wanted["loss"], atol=1e-5)
    assert model.predict_on_batch(raw).shape == (*y.shape, 320)


def test_sample_weights_beside_raw_videos(model, batch, raw, paths):
    """An example of weight 2 counts as if it were there twice."""
    x, y, weights = batch
    examples = np.array([1.0, 0.0, 2.0], "float32")
    total = evaluate(model, x, y, weights * examples[:, None])
    check(model, total, raw, sample_weight=examples.tolist())
    data = (raw, None, ops.convert_to_tensor(examples))
    check(model, total, Batches(data), batch_size=None)
    weighted = tf_batches(({**raw, "videos": paths}, examples))
    weighted = weighted.map(lambda x, weights: (x, None, weights))
    check(model, total, weighted, batch_size=None)
    values = model.test_on_batch(*data, return_dict=True)
    np.testing.assert_allclose(values["loss"], total["loss"], atol=1e-5)
    wanted = {"val_loss": total["loss"]}
    check(model, wanted, raw, validation_data=data)
    with pytest.raises(ValueError, match="must be a number .*nan"):
        model.evaluate(raw, sample_weight=[1.0, np.nan, 1.0], verbose=0)


def test_auxiliary_loss_is_that_of_any_batch_size(model):
    """The mean over frames, however many those of a batch are."""
    x = tiny.raw((4, 1, 2, 4))
    values = []
    for size in (1, 2, 3, 4):
        found = model.evaluate(x, batch_size=size, verbose=0, return_dict=True)
        values.append(found["aux_loss"])
        kept = float(ops.convert_to_numpy(model.auxiliary_loss.value))
        np.testing.assert_allclose(kept, found["aux_loss"], rtol=1e-6)
    np.testing.assert_allclose(values, values[-1], rtol=1e-5)
    history = model.fit(x, batch_size=3, verbose=0).history
    kept = float(ops.convert_to_numpy(model.auxiliary_loss.value))
    np.testing.assert_allclose(kept, history["aux_loss"][-1], rtol=1e-6)
    assert np.isfinite(kept)


def cross_entropy(logits, labels, weights):
    """By hand: the weighted mean."""
    logits = logits.astype("float64")
    shifted = logits - logits.max(-1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_share, labels[..., None], -1)[..., 0]
    return (losses * weights).sum() / weights.sum()


def evaluate(model, x, y, weights):
    return model.evaluate(
        x, y, sample_weight=weights, batch_size=3, verbose=0, return_dict=True
    )


def test_loss_by_hand(model, wanted, batch):
    x, y, weights = batch
    logits = model.predict(x, verbose=0)
    outputs = tiny.run(model, model.backbone, x)
    auxiliary = auxiliary_loss(
        outputs["scores"], outputs["similarity"], x["frame_mask"]
    )
    auxiliary = float(ops.convert_to_numpy(auxiliary))
    np.testing.assert_allclose(wanted["aux_loss"], auxiliary, rtol=1e-5)
    entropy = cross_entropy(logits, y, weights)
    total = entropy + 0.5 * auxiliary
    np.testing.assert_allclose(wanted["loss"], total, rtol=1e-5)
    heavier = weights * np.where(np.arange(y.shape[1]) % 2, 3.0, 1.0)
    total = cross_entropy(logits, y, heavier) + 0.5 * auxiliary
    got = evaluate(model, x, y, heavier.astype("float32"))
    np.testing.assert_allclose(got["loss"], total, rtol=1e-5)


def test_only_the_response_counts(model, wanted, batch):
    x, y, weights = batch
    changed = np.where(weights > 0, y, 5)
    assert (changed != y).any()
    got = evaluate(model, x, changed, weights)
    np.testing.assert_allclose(got["loss"], wanted["loss"], rtol=1e-6)
    assert weights.sum(-1).tolist() == [
        len(ids) + 1
        for ids in model.preprocessor.tokenizer.tokenize(tiny.RESPONSES)
    ]


def test_both_losses_fall():
    """In the mode that is the backend's default: compiled, if it can."""
    model = tiny.model()
    tiny.compile_to_train(model, rate=0.5, run_eagerly=False)
    x = tiny.raw()
    history = model.fit(x, batch_size=3, epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert history["aux_loss"][-1] < 0.9 * history["aux_loss"][0]
    for variable in model.trainable_variables:
        assert np.isfinite(ops.convert_to_numpy(variable)).all(), variable.path


def scorer_weights(model):
    return [
        ops.convert_to_numpy(v).copy()
        for v in model.backbone.pruning.scorer.weights
    ]


def step(model, rate=1.0):
    tiny.compile_to_train(model, rate)
    return model.fit(tiny.raw(), batch_size=3, verbose=0).history


def test_the_bias_alone_trains_the_scorer():
    # Over rows of two blocks the rescaled scores do not vary.
    model = tiny.model(
        sharp=True, task={"aux_coefficient": None}, rescale_axis="frame"
    )
    before = scorer_weights(model)
    history = step(model, rate=1e6)  # Some gradients are as small as 1e-13.
    assert "aux_loss" not in history
    after = scorer_weights(model)
    names = [v.path for v in model.backbone.pruning.scorer.weights]
    for name, one, other in zip(names, before, after):
        # The bias of the last layer and of the keys shift all alike.
        if not name.endswith(("score/bias", "key/bias")):
            assert (one != other).any(), name


@pytest.mark.parametrize("pruning", ["random", "frame_similarity"])
def test_other_rankings_train_without_the_scorer(pruning):
    model = tiny.shallow(pruning=pruning)
    assert not model.backbone.pruning.weights
    kernel = ops.convert_to_numpy(model.lm_head.kernel).copy()
    history = step(model)
    assert np.isfinite(history["loss"][0]) and "aux_loss" not in history
    assert (ops.convert_to_numpy(model.lm_head.kernel) != kernel).any()


def test_random_pruning_draws_anew_each_time():
    backbone = tiny.shallow(pruning="random", prune_ratio=0.3).backbone
    kept = keras.Model(backbone.input, backbone.output["kept"])
    x = tiny.preprocessor()(tiny.raw((4,), responses=False))
    draws = [kept.predict(x, verbose=0) for _ in range(4)]
    assert any((draw != draws[0]).any() for draw in draws)
    assert {draw.sum() for draw in draws} == {12}


def test_coefficient_as_a_schedule(tmp_path):
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 2, 0.0)
    model = tiny.compile_to_train(
        tiny.shallow(sharp=True, task={"aux_coefficient": schedule}), rate=0.0
    )
    x = tiny.raw()
    history = model.fit(x, batch_size=3, epochs=3, verbose=0).history
    entropy, auxiliary = history["loss"][2], history["aux_loss"][0]
    np.testing.assert_allclose(
        history["loss"],
        [entropy + auxiliary, entropy + auxiliary / 2, entropy],
        rtol=1e-5,
    )
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras")
    assert twin.aux_coefficient.get_config() == schedule.get_config()
    assert int(ops.convert_to_numpy(twin.auxiliary_loss.iterations)) == 3
