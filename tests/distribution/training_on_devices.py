"""What a model does on eight devices is what it does on one."""

import json
from unittest import mock

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.callbacks import Backup
from keras_stts.compiling import compiled
from keras_stts.data import VideoDataset
from tests.data.reading_test import write
from tests.harness import to_numpy
from tests.models import qwen3_vl
from tests.models import tiny

COUNT = 11  # Rows: eight, and three that eight devices do not divide.
SHAPES = {"fsdp": (8, 1), "model": (1, 8), "both": (2, 4)}
KINDS = ("data", *SHAPES)


def distribution(kind):
    devices = keras.distribution.list_devices()
    if kind == "data":
        return keras.distribution.DataParallel(devices=devices)
    axes = ["batch", "model"]
    mesh = keras.distribution.DeviceMesh(SHAPES[kind], axes, devices)
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


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Path of a table of four questions about one video."""
    folder = tmp_path_factory.mktemp("clips")
    clip = write(folder / "a.mp4", "-c:v libx264", seconds=2)
    path = folder / "table.jsonl"
    rows = [
        {"video": str(clip), "prompt": f"what {i}?", "response": f"a {i}"}
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_model():
    """A model that is compiled soon: one vision block whole, one packed."""
    model = tiny.model(
        vision_num_layers=2,
        vision_feature_layers=[1, 0],
        prune_layer=0,
        num_layers=1,
    )
    return tiny.compile_to_train(model, rate=0.01)


def batches(x):
    """The same rows, in batches of a generator."""
    for first in range(0, COUNT, 8):
        yield {name: value[first : first + 8] for name, value in x.items()}


class Threads(keras.utils.PyDataset):
    """The same, preprocessed, read by threads."""

    def __init__(self, arrays):
        super().__init__(workers=2)
        self.arrays = arrays

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return keras.tree.map_structure(lambda a: a[part], self.arrays)


class Stop(keras.callbacks.Callback):
    """Cuts a run off after its third batch, the first of an epoch."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == 3:
            raise KeyboardInterrupt


def fit_all_ways(model, table, folder):
    """Losses, of each kind of data, one after the other."""
    import tensorflow as tf

    x = data()
    plain = {"batch_size": 8, "shuffle": False, "verbose": 0}
    history = model.fit(x, epochs=2, validation_data=x, **plain).history
    found = {f"fit {name}": values for name, values in history.items()}
    found["generator"] = model.fit(batches(x), verbose=0).history["loss"]
    arrays = model.preprocessor(x)
    datasets = {
        "tf.data": tf.data.Dataset.from_tensor_slices(arrays).batch(8),
        "threads": Threads(arrays),
    }
    for name, dataset in datasets.items():
        run = model.fit(dataset, shuffle=False, verbose=0)
        found[name] = run.history["loss"]
    rows = keras_stts.data.read_manifest(table)
    before, places = model.get_weights(), model.optimizer.variables
    places = [variable.numpy() for variable in places]
    for stop in ([Stop()], []):
        # Three rows, and one: `VideoDataset` fills these up to three.
        with VideoDataset(rows, model.preprocessor, 3, seed=1) as videos:
            callbacks = [Backup(folder, every=1), *stop]
            try:
                run = model.fit(
                    videos, epochs=2, callbacks=callbacks, verbose=0
                )
            except KeyboardInterrupt:
                model.set_weights(before)
                for variable, value in zip(model.optimizer.variables, places):
                    variable.assign(value)
    found["resumed"] = run.history["loss"]
    return found


def kept_blocks(model, video):
    """As the model says, compiled as one and not each operation alone."""
    backbone = model.backbone
    encode = compiled(model, backbone.encode_video)
    with mock.patch.object(backbone, "encode_video", encode):
        return model.kept_blocks(video)["kept"]


def run(table, folder, in_full=True):
    """What all that is done with a model gives; a part of it if not in full."""
    model = make_model()
    x = data()
    found = fit_all_ways(model, table, folder / "backup")
    scores = model.evaluate(batches(x), verbose=0, return_dict=True)
    found |= {f"evaluate {name}": value for name, value in scores.items()}
    if in_full:
        found["predict"] = model.predict(x, batch_size=8, verbose=0)
    found["weights"] = np.concatenate(
        [np.ravel(weight) for weight in model.get_weights()]
    )
    for weight in model.trainable_variables:  # So that answers differ.
        if len(weight.shape) > 1 and "scorer" not in weight.path:
            weight.assign(4 * weight.value)
    asked = {name: x[name][:3] for name in ("videos", "prompts")}
    found["answers"] = model.generate(asked)
    if not in_full:
        return found
    found["answer"] = model.generate({k: v[0] for k, v in asked.items()})
    videos = model.encode(list(asked["videos"]), verbose=0)
    assert model.generate({**asked, "videos": videos}) == found["answers"]
    one = {**asked, "videos": [videos[0]] * 3}
    found["of one video"] = model.generate(one)
    found["kept"] = kept_blocks(model, x["videos"][0])
    result = keras_stts.evaluate(
        model,
        table,
        batch_size=3,
        max_new_tokens=3,
        output=folder / "asked",
        progress=False,
    )
    (path,) = (folder / "asked").rglob("predictions.jsonl")
    lines = map(json.loads, path.read_text().splitlines())
    found["predictions"] = [line["prediction"] for line in lines]
    found["asked"] = [result["accuracy"], result["vision_tokens"]]
    return found


@pytest.fixture(scope="module")
def alone(table, tmp_path_factory):
    return run(table, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("kind", KINDS)
def test_same_as_one_device(alone, kind, table, tmp_path):
    in_full = kind != "model"  # It is compiled longest.
    with distribution(kind).scope():
        found = run(table, tmp_path, in_full)
    assert found.keys() == alone.keys() or not in_full
    for name, values in found.items():
        wanted = alone[name]
        if name in ("answers", "answer", "of one video", "predictions"):
            assert values == wanted, name
            continue
        np.testing.assert_allclose(
            values, wanted, rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_metrics_that_would_count_what_is_added():
    model = make_model()
    tiny.compile_to_train(model, metrics=["sparse_categorical_accuracy"])
    with distribution("data").scope():
        with pytest.raises(ValueError, match="3 rows for 8 devices.*metrics="):
            model.evaluate(data(), batch_size=3, verbose=0)


@pytest.mark.parametrize("kind", ["fsdp", "both"])
def test_a_tied_head(kind):
    """Its gradient comes of both ends of the model."""

    def trained():
        model = qwen3_vl.model(tied=True, shallow=True, pruning=None)
        x = qwen3_vl.inputs(
            [qwen3_vl.Sample((3, 2, 3), seed=i) for i in (0, 1)]
        )
        x = {name: np.repeat(x[name], 4, axis=0) for name in model.input}
        y = x["token_ids"]
        model.compile(optimizer=keras.optimizers.SGD(0.5))
        model.fit(x, y, batch_size=8, verbose=0)
        return to_numpy(model.backbone.token_embedding.embeddings)

    wanted = trained()
    keras.distribution.set_distribution(distribution(kind))
    np.testing.assert_allclose(trained(), wanted, atol=1e-5)
