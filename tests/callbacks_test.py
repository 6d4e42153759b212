"""A run of `fit` that is cut off goes on where it was."""

import io
import os
import signal
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from keras_stts.callbacks import Backup
from keras_stts.data import VideoDataset
from tests.data.reading_test import write
from tests.models import tiny

EPOCHS = 2

# Elsewhere a train step takes long to compile.
in_full = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="Under PyTorch alone."
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("clips") / "a.mp4", "-c:v libx264", seconds=2
    )


def rows(clip):
    return [
        {
            "id": i,
            "video": str(clip),
            "prompt": f"question {i}",
            "response": f"answer {i}",
        }
        for i in range(4)
    ]


class Stop(keras.callbacks.Callback):
    """Cuts a run off after some batches."""

    def __init__(self, after, how):
        super().__init__()
        self.after, self.how = after, how

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if not self.after:
            self.how()


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def train(clip, folder=None, stop=(), batch_size=1, every=1):
    """A model, and what it was trained for, one line an example."""
    keras.utils.set_random_seed(0)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 3, 0.5)
    model = tiny.shallow(
        sharp=True, num_layers=2, task={"aux_coefficient": schedule}
    )
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        run_eagerly=keras.config.backend() == "tensorflow",
    )
    callbacks = [Backup(folder, every)] if folder else []
    if stop:
        callbacks.append(Stop(*stop))
    data = VideoDataset(rows(clip), model.preprocessor, batch_size, seed=3)
    with data:
        history = model.fit(data, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    return model, history


def weights(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables]


def same(found, wanted):
    """But for round-off; a step more or less moves weights by a thousandth."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def whole(clip):
    model, history = train(clip)
    assert len(history.history["loss"]) == EPOCHS
    return weights(model)


@pytest.mark.parametrize(
    "after",
    [3, pytest.param(1, marks=in_full), pytest.param(6, marks=in_full)],
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_interrupted(clip, whole, tmp_path, after):
    with pytest.raises(KeyboardInterrupt):
        train(clip, tmp_path, (after, interrupt))
    model, history = train(clip, tmp_path)
    same(weights(model), whole)
    assert history.epoch == list(range(after // 4, EPOCHS))
    assert model.optimizer.iterations == EPOCHS * 4


def run_apart(clip, *folders, stop=0):
    """The exit status of runs, one a folder, in a process of their own.

    Some of what the suite imports makes a process round otherwise.
    """
    program = (
        "import sys, numpy\n"
        "from tests.callbacks_test import kill, train, weights\n"
        "clip, stop, *folders = sys.argv[1:]\n"
        "stop = (int(stop), kill) if int(stop) else ()\n"
        "for folder in folders:\n"
        "    model, _ = train(clip, folder, stop, every=5)\n"
        "    numpy.savez(folder + '/weights', *weights(model))\n"
    )
    for folder in folders:
        folder.mkdir(exist_ok=True)
    arguments = [str(clip), str(stop), *map(str, folders)]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL
    ).returncode


def weights_in(folder):
    with np.load(folder / "weights.npz") as saved:
        return [saved[name] for name in saved.files]


@in_full
def test_killed(clip, tmp_path):
    """Between two backups: what came after the last one is done again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_apart(clip, killed, stop=6) == -signal.SIGKILL
    assert not run_apart(clip, killed, whole)
    same(weights_in(killed), weights_in(whole))


@in_full
def test_what_has_ended_is_not_done_again(clip, tmp_path):
    one, _ = train(clip, tmp_path)
    two, history = train(clip, tmp_path)
    assert not history.history
    same(weights(two), weights(one))


@in_full
def test_bad_use(clip, tmp_path):
    with pytest.raises(ValueError, match="`every` must be positive"):
        Backup(tmp_path, 0)
    with pytest.raises(KeyboardInterrupt):
        train(clip, tmp_path, (1, interrupt))
    with pytest.raises(ValueError, match="batch_size=2 instead of 1"):
        train(clip, tmp_path, batch_size=2)
    model = tiny.compile_to_train(tiny.shallow())
    with pytest.raises(ValueError, match="a `keras_stts.data.VideoDataset`"):
        model.fit(tiny.raw(), callbacks=[Backup(tmp_path)])


@in_full
@pytest.mark.filterwarnings("ignore:Skipping variable loading")
def test_damaged_backups_are_named(clip, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(clip, tmp_path, (1, interrupt))
    path = tmp_path / "backup.weights.h5"
    good = path.read_bytes()
    for place in (100, len(good) // 2, len(good) - 200):
        data = bytearray(good)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(ValueError, match="backup.*sha256 differs"):
            train(clip, tmp_path)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="backup.*cannot be read"):
        train(clip, tmp_path)
    tiny.shallow().save_weights(path)
    with pytest.raises(ValueError, match="holds no position in the data"):
        train(clip, tmp_path)
    tiny.shallow().save_weights(path)
    with h5py.File(path, "a") as file:
        with h5py.File(io.BytesIO(good)) as other:
            file.attrs["place"] = other.attrs["place"]
    with pytest.raises(ValueError, match="backup.weights.h5, which does not"):
        train(clip, tmp_path)
    path.write_bytes(good)
    model = tiny.compile_to_train(tiny.shallow())
    with VideoDataset(rows(clip), model.preprocessor, 1, seed=3) as data:
        with pytest.raises(ValueError, match="with the model it was made with"):
            model.fit(data, callbacks=[Backup(tmp_path)], verbose=0)


@in_full
def test_a_backup_that_cannot_be_written(clip, tmp_path):
    """The one before it stays."""
    resource = pytest.importorskip("resource")
    with pytest.raises(KeyboardInterrupt):
        train(clip, tmp_path, (1, interrupt))
    good = (tmp_path / "backup.weights.h5").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9999, limits[1]))
    try:
        with pytest.raises(OSError, match="backup.weights.h5 could not be"):
            train(clip, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "backup.weights.h5").read_bytes() == good
    assert len(list(tmp_path.iterdir())) == 1
