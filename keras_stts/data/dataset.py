"""Batches of a table of videos, for `fit`."""

import collections
import json
import os
import pathlib
import threading

import keras
import numpy as np

from keras_stts.data.cache import FrameCache
from keras_stts.data.video import SampledVideo
from keras_stts.data.workers import DecodePool

POLICIES = ("raise", "skip", "report")


class VideoDataset(keras.utils.PyDataset):
    """Reads a table of videos batch by batch, in processes of its own.

    All batches have the same shape: the last one, and one with unreadable
    videos, is filled up with black rows of weight 0.

    Args:
        rows: List of dicts with `"video"`, `"prompt"` and `"response"`, see
            `keras_stts.data.read_manifest`.
        preprocessor: A `keras_stts.VideoVLMPreprocessor`.
        batch_size: Int.
        shuffle: Bool. Whether the order changes each epoch; it depends on
            `seed` and the epoch alone.
        seed: Int.
        shard: Tuple (index, count): which part of how many this process
            reads. All parts have equally many batches.
        cache: Optional path or `keras_stts.data.FrameCache`, where sampled
            frames are kept.
        on_error: What happens with a row that cannot be used: `"raise"`, or
            `"skip"` and count it, or `"report"`, which also writes it to
            `report`.
        report: Optional path of a JSONL file, a line for each row that was
            left out, with the reason.
        num_workers: Int. Processes that decode.
        time_limit: Number. Seconds that a video may take.
        prefetch: Int. Batches that are read ahead.

    Attributes:
        skipped: Dict of id to reason, all rows that were left out.

    Example:
    ```python
    import json

    clips = keras_stts.datasets.shapes.generate("clips", "train", 1)
    with open("train.jsonl", "w") as file:
        for clip in clips:
            print(json.dumps(clip), file=file)

    rows = keras_stts.data.read_manifest("train.jsonl", folder=".")
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    data = keras_stts.data.VideoDataset(
        rows, model.preprocessor, batch_size=8, cache="cache"
    )
    with data:
        model.fit(data, epochs=2)
    ```
    """

    def __init__(
        self,
        rows,
        preprocessor,
        batch_size,
        shuffle=True,
        seed=0,
        shard=(0, 1),
        cache=None,
        on_error="raise",
        report=None,
        num_workers=2,
        time_limit=60.0,
        prefetch=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check(rows, batch_size, shard, on_error, report)
        self.rows = list(rows)
        self.preprocessor = preprocessor
        self.batch_size = batch_size
        self.shuffle, self.seed, self.shard = shuffle, seed, tuple(shard)
        self.cache = cache
        if isinstance(cache, (str, os.PathLike)):
            self.cache = FrameCache(cache)
        self.on_error = on_error
        self.report = None if report is None else pathlib.Path(report)
        self.prefetch = prefetch
        self.skipped = {}
        self.epoch = 0
        self._pool = DecodePool(num_workers, time_limit)
        self._reading = collections.OrderedDict()
        self._lock = threading.RLock()
        self._order = self._new_order()

    @property
    def num_batches(self):
        count = self.shard[1]
        rows = -(-len(self.rows) // count)
        return -(-rows // self.batch_size)

    def __len__(self):
        return self.num_batches

    def _new_order(self):
        """Rows of this shard in this epoch; -1 where a batch is filled up."""
        index = np.arange(len(self.rows))
        if self.shuffle:
            rng = np.random.default_rng([self.seed, self.epoch])
            index = rng.permutation(index)
        own = index[self.shard[0] :: self.shard[1]]
        order = np.full(self.num_batches * self.batch_size, -1)
        order[: len(own)] = own
        return order.reshape(self.num_batches, self.batch_size)

    def on_epoch_end(self):
        with self._lock:
            self.epoch += 1
            self._order = self._new_order()
            self._reading.clear()

    def __getitem__(self, index):
        with self._lock:
            last = min(index + self.prefetch + 1, self.num_batches)
            for batch in range(index, last):
                if batch not in self._reading:
                    self._reading[batch] = self._start(batch)
            started = self._reading.pop(index)
        return self._batch(started)

    def _start(self, batch):
        """For each row of a batch: the row, or None, and how to get it."""
        started = []
        for number in self._order[batch]:
            row = self.rows[number] if number >= 0 else None
            if row is not None and row["id"] in self.skipped:
                row = None
            started.append((row, row and self._read(row)))
        return started

    def _read(self, row):
        """Function without arguments that gives the frames of a row."""
        problem = _problem(row)
        if problem:
            return lambda: _raise(problem)
        converter = self.preprocessor.video_converter
        settings = {
            "num_frames": converter.num_frames,
            "max_fps": converter.max_fps,
            "sampling": converter.sampling,
            "size": converter.image_size,
            "fps": row.get("fps"),
        }
        cache = self.cache
        if cache is None:
            return self._pool.submit(row["video"], **settings).result
        try:
            key = cache.key(row["video"], **settings)
        except OSError as error:
            message = (
                "`source` must be a video. Received: "
                f"{row['video']!r}, which cannot be read ({error})."
            )
            return lambda: _raise(FileNotFoundError(message))
        found = cache.read(key)
        if found is not None:
            return lambda: found
        future = self._pool.submit(row["video"], **settings)

        def finish():
            frames, times = future.result()
            cache.write(key, frames, times)
            return frames, times

        return finish

    def _batch(self, started):
        parts = []
        for row, read in started:
            part = None
            if row is not None:
                try:
                    part = self._preprocess(
                        SampledVideo(*read()), row["prompt"], row["response"]
                    )
                except (ValueError, OSError) as error:
                    self._leave_out(row, error)
            parts.append(self._blank() if part is None else part)
        return keras.tree.map_structure(
            lambda *arrays: np.concatenate(arrays), *parts
        )

    def _preprocess(self, video, prompt, response):
        """A batch of one."""
        return self.preprocessor(
            {"videos": [video], "prompts": [prompt], "responses": [response]}
        )

    def _blank(self):
        """One black frame that nothing is learnt from."""
        height, width = self.preprocessor.video_converter.image_size
        frames = np.zeros((1, height, width, 3), "uint8")
        x, y, weights = self._preprocess(
            SampledVideo(frames, np.zeros(1)), "?", "."
        )
        return x, y, np.zeros_like(weights)

    def _leave_out(self, row, error):
        if self.on_error == "raise":
            raise error
        with self._lock:
            if row["id"] in self.skipped:
                return
            self.skipped[row["id"]] = str(error)
            if self.on_error == "report":
                line = {
                    "id": row["id"],
                    "video": row.get("video"),
                    "reason": str(error),
                }
                with open(self.report, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line, default=str) + "\n")

    def close(self):
        """End the processes that decode."""
        self._pool.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def _raise(error):
    raise error


def _problem(row):
    """What makes a row unusable before its video is read, or None."""
    for name in ("video", "prompt", "response"):
        value = row.get(name)
        if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
            return ValueError(
                f"A row must have a {name}. Received: row {row['id']} with "
                f"{name}={value!r}."
            )
    return None


def _check(rows, batch_size, shard, on_error, report):
    if not len(rows):
        raise ValueError("`rows` must not be empty. Received: no row.")
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be positive. Received: {batch_size}."
        )
    index, count = shard
    if not 0 <= index < count <= len(rows):
        raise ValueError(
            "`shard` must be (index, count), 0 <= index < count <= number of "
            f"rows. Received: shard={tuple(shard)}, {len(rows)} rows."
        )
    if on_error not in POLICIES:
        raise ValueError(
            f"`on_error` must be one of {', '.join(POLICIES)}. Received: "
            f"on_error={on_error!r}."
        )
    if (on_error == "report") != (report is not None):
        raise ValueError(
            '`report` is needed with on_error="report", and only then. '
            f"Received: on_error={on_error!r}, report={report!r}."
        )
