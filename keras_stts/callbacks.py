"""Callbacks for `fit`."""

import contextlib
import json
import sys

import h5py
import keras

from keras_stts.data.paths import here
from keras_stts.models.backbone_bounds import is_int
from keras_stts.presets import safe_hdf5
from keras_stts.presets.parsing import parse_json
from keras_stts.training import jobs
from keras_stts.training import shared_saving

__all__ = [
    "Backup",
]

FILE = "backup.weights.h5"


class Backup(keras.callbacks.Callback):
    """Resumes a run of `VideoVLM.fit` that was interrupted.

    Weights, optimizer state and the position in the data are kept in one file,
    which is replaced atomically. After a run was killed, the same call of
    `fit` resumes from the last backup with the batches that follow it, and
    ends with the same weights as an uninterrupted run. A finished run has
    nothing left to do, unless it is given more epochs.

    If several processes train one model (`jax.distributed`), the first one
    writes the backup and all of them resume from it: `folder` must be one
    that all of them can read.

    Args:
        folder: Path on this machine, created if it is missing.
        every: Int. Batches between two backups. Each epoch also ends with
            one. Defaults to `100`.

    Raises:
        ValueError: In `fit`, if the data are no `keras_stts.data.VideoDataset`
            or differ from those of the backup; if the backup is damaged or
            belongs to another model; or if some process cannot read it.
        OSError: In `fit`, if a backup cannot be written, for example on a
            full disk. The previous backup is kept.

    Example:
    ```python
    keras_stts.datasets.shapes.generate("clips", "train", 1)
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    data = keras_stts.data.video_dataset_from_manifest(
        "clips/train.jsonl", model.preprocessor, batch_size=8
    )
    backup = keras_stts.callbacks.Backup("backup", every=500)
    with data:
        model.fit(data, epochs=2, callbacks=[backup])
    ```
    """

    def __init__(self, folder, every=100):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be positive. Received: {every}.")
        self.folder = here(folder, "A backup")
        self.every = every
        self.data = None

    @property
    def path(self):
        return self.folder / FILE

    def restore(self, model, data):
        """Load the last backup into a model, its optimizer and its data.

        Returns:
            Tuple (epoch, batch) to continue with.
        """
        self.data = data
        model.optimizer.build(model.trainable_variables)
        epoch, batch, saved = 0, 0, None
        if self.path.exists():
            saved = self._place()
            epoch, batch = saved["epoch"], saved["batch"]
        self._check_agreed(jobs.of_all(epoch, batch))
        if saved is not None:
            self._check_same(saved["data"], self._settings())
            self._check_shapes(saved.get("shapes"), model)
            model.load_weights(self.path)
        data.seek(epoch, batch)
        return epoch, batch

    def _settings(self):
        """The settings of the order of the batches, for all processes."""
        settings = self.data.settings()
        if jobs.this_process()[1] > 1:
            settings["shard"] = settings["shard"][1:]
        return settings

    def _check_agreed(self, places):
        if any(place != places[0] for place in places):
            raise ValueError(
                "All processes of a job resume from the same backup. Received: "
                f"{str(self.path)!r}, which the processes read at epoch and "
                f"batch {places}. Choose a `folder` that all of them share."
            )

    def _place(self):
        """Dict of the position in the data that the backup holds."""
        safe_hdf5.check(self.path)
        with h5py.File(self.path) as file:
            text = file.attrs.get("place")
        if isinstance(text, str):
            with contextlib.suppress(ValueError):
                saved = parse_json(text, str(self.path))
                counts = [saved.get("epoch"), saved.get("batch")]
                good = all(is_int(n, 0, sys.maxsize) for n in counts)
                if good and isinstance(saved.get("data"), dict):
                    return saved
        raise ValueError(
            "A backup must be a file that `Backup` wrote. Received: "
            f"{str(self.path)!r}, which holds no position in the data. Delete "
            "it to start anew."
        )

    def _check_same(self, saved, given):
        different = [
            f"{name}={given[name]} instead of {saved.get(name)}"
            for name in given
            if saved.get(name) != given[name]
        ]
        if different:
            raise ValueError(
                "A backup resumes with the data it was made with. Received: "
                f"{str(self.path)!r} and data with {', '.join(different)}. "
                "Use another folder."
            )

    def _check_shapes(self, saved, model):
        if saved not in (None, _shapes(model)):
            raise ValueError(
                "A backup resumes with the model it was made with. Received: "
                f"{str(self.path)!r} with {len(saved)} weights, and a model "
                f"with {len(model.weights)} of other shapes. Use another "
                "folder."
            )

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._done = self.data.position

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        if self._done < self.data.batches_per_epoch:
            if self._done % self.every == 0:
                self._save(self._epoch, self._done)

    def on_epoch_end(self, epoch, logs=None):
        self._save(epoch + 1, 0)

    def _save(self, epoch, batch):
        place = {"epoch": epoch, "batch": batch, "data": self._settings()}

        def write():
            self._write(place)

        if shared_saving.is_in_parts(self.model):
            shared_saving.save_together(self.model, write, "`Backup`")
        elif jobs.this_process()[0] == 0:
            write()

    def _write(self, place):
        self.folder.mkdir(parents=True, exist_ok=True)
        place["shapes"] = _shapes(self.model)
        with safe_hdf5.replacing(self.path) as part:
            self.model.save_weights(part, overwrite=True)
            with safe_hdf5.File(part, "a") as file:
                file.attrs["place"] = json.dumps(place)


def _shapes(model):
    return [list(weight.shape) for weight in model.weights]


class DataProgress(keras.callbacks.Callback):
    """Starts each epoch of a `VideoDataset` and logs its progress.

    Args:
        data: A `keras_stts.data.VideoDataset`.
        epoch, batch: Ints, at which training begins.
    """

    async_safe = True

    def __init__(self, data, epoch=0, batch=0):
        super().__init__()
        self.data = data
        self.first = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        place = self.first if epoch == self.first[0] else (epoch, 0)
        if self.data.position != place:
            self.data.seek(*place)

    def on_train_batch_end(self, batch, logs=None):
        logs.update(self.data.progress())

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.data.progress())
