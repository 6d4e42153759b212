"""Batches of a table of videos, for `fit`."""

import concurrent.futures
import hashlib
import json
import os
import sys
import threading

import keras
import numpy as np
import tqdm

from keras_stts.data.bucketing import buckets_of
from keras_stts.data.cache import FrameCache
from keras_stts.data.dataset_checks import check_arguments
from keras_stts.data.dataset_checks import named
from keras_stts.data.dataset_checks import names_row
from keras_stts.data.dataset_checks import part_of_job
from keras_stts.data.dataset_checks import words
from keras_stts.data.disk import writing
from keras_stts.data.order import plan_epoch
from keras_stts.data.paths import append_text
from keras_stts.data.paths import as_path
from keras_stts.data.reading_ahead import Batches
from keras_stts.data.reading_ahead import Clock
from keras_stts.data.rows import RowReader
from keras_stts.data.rows import example
from keras_stts.data.source import name_of

# While a batch is assembled, the videos of the next are decoded.
BATCHES_AT_A_TIME = 2


class VideoDataset(keras.utils.PyDataset):
    """Batches of a table of videos, which separate processes decode.

    All batches, or all batches of a bucket, have the same shape: the last
    batch, and batches with unreadable videos, are filled up with black videos
    of sample weight 0. So `fit` compiles a model as often as there are
    buckets, and no more, whatever sizes and lengths the videos have.

    With a `keras_stts.Qwen3VLPreprocessor` videos have any size. They are
    padded to its `buckets`: each to the smallest that holds it, which is known
    before its frames are decoded, and all videos of a batch to the same. A
    video that no bucket holds is a row that cannot be used.

    `fit` shows `input_wait`, the share of the time that it waited for this
    dataset, and `skipped`, the number of rows that were left out.

    Args:
        rows: List of dicts with `"video"`, `"prompt"` and `"response"`, see
            `keras_stts.data.read_manifest`.
        preprocessor: A `keras_stts.VideoVLMPreprocessor`, or a
            `keras_stts.Qwen3VLPreprocessor`.
        batch_size: Int.
        shuffle: Bool. Whether rows are shuffled in each epoch, in an order
            that depends only on `seed` and the epoch.
        seed: Int.
        shard: Tuple (index, count): this process reads part `index` of
            `count` parts of the rows; or `"auto"`, one part for each process
            of the job. All parts have the same number of batches, of the same
            shapes.
        buckets: Optional ints. Numbers of frames that videos are padded to:
            each to the smallest that holds it, and all videos of a batch to
            the same. Defaults to only the preprocessor's `num_frames`, which
            is always a bucket. With a `Qwen3VLPreprocessor`, which has buckets
            of its own, it must be left out.
        cache: Optional path or `keras_stts.data.FrameCache` in which sampled
            frames are kept.
        on_error: What to do with a row that cannot be used: `"raise"` an
            error; `"skip"` and count the row; or `"report"`, which also writes
            it to `report`.
        report: Optional path or address of a JSONL file, which gets a line
            with the reason for each row that is left out.
        num_workers: Int. Number of decoding processes.
        time_limit: Number. Seconds that decoding a video may take.
        prefetch: Int. Number of batches that are read ahead.

    Attributes:
        left_out: Dict of the number of each row that is left out to the
            reason.
        position: Tuple of ints, the epoch, and the number in it of the first
            of these batches.
        batches_per_epoch: Int.

    Raises:
        ValueError: If an argument is wrong; while batches are read, if a row
            cannot be used and `on_error` is `"raise"`.

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
        *,
        shuffle=True,
        seed=0,
        shard=(0, 1),
        buckets=None,
        cache=None,
        on_error="raise",
        report=None,
        num_workers=2,
        time_limit=60.0,
        prefetch=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        shard = part_of_job(shard)
        check_arguments(
            rows, batch_size, shard, on_error=on_error, report=report
        )
        self._buckets = buckets_of(preprocessor, buckets)
        self.rows = named(rows)
        self.preprocessor = preprocessor
        self.batch_size = batch_size
        self.shuffle, self.seed, self.shard = shuffle, seed, shard
        self.buckets = self._buckets.sizes
        if isinstance(cache, (str, os.PathLike)):
            cache = FrameCache(cache)
        self.on_error = on_error
        self.report = None if report is None else as_path(report)
        self.prefetch = prefetch
        self.left_out = {}
        self._closed = False
        self._lock = threading.RLock()
        self._reader = RowReader(
            preprocessor.video_converter, cache, num_workers, time_limit
        )
        self._threads = concurrent.futures.ThreadPoolExecutor(
            BATCHES_AT_A_TIME, "batch"
        )
        self._clock = Clock()
        self._bucket_of_row = self._find_buckets()
        self.seek(0)

    def seek(self, epoch, batch=0):
        """Go to a batch of an epoch, to resume an interrupted run.

        The rest of that epoch has fewer batches, `num_batches`.
        """
        rng = None
        if self.shuffle:
            rng = np.random.default_rng([self.seed, epoch])
        plan = plan_epoch(self._bucket_of_row, self.batch_size, self.shard, rng)
        if not 0 <= batch <= len(plan):
            raise ValueError(
                "`batch` must be one of the epoch. Received: "
                f"batch={batch} of {len(plan)}."
            )
        self.position = (epoch, batch)
        self.batches_per_epoch = len(plan)
        self._batches = Batches(self._start, plan[batch:], self.prefetch)

    def batches(self):
        """The remaining batches, as a sequence that `seek` does not change."""
        return self._batches

    def settings(self):
        """The settings that determine the order of the batches, as JSON."""
        names = ("batch_size", "shuffle", "seed", "shard", "buckets")
        result = {name: getattr(self, name) for name in names}
        ids = json.dumps([row["id"] for row in self.rows], default=str)
        result["rows"] = hashlib.sha256(ids.encode()).hexdigest()[:16]
        return json.loads(json.dumps(result))

    @property
    def num_batches(self):
        return len(self._batches)

    def __len__(self):
        return self.num_batches

    def on_epoch_end(self):
        # Keras also calls this before the first epoch.
        if self._batches.last_was_read:
            self.seek(self.position[0] + 1)

    def progress(self):
        """Dict of numbers to show beside the loss."""
        result = {"input_wait": self._clock.share}
        if self.on_error != "raise":
            result["skipped"] = len(self.left_out)
        return result

    def __getitem__(self, index):
        return self._batches[index]

    def _find_buckets(self):
        """Keys of each row's bucket; 0 for rows that are left out."""
        keys = np.full(len(self.rows), self._buckets.keys[0])
        if len(self.buckets) == 1:
            return keys
        numbers, look = range(len(self.rows)), self._buckets.look
        reads = [
            self._try(i, lambda row: look(self._reader, row)) for i in numbers
        ]

        def key(i):
            return self._try(i, lambda row: self._buckets.key_of(reads[i]()))

        shown = {"unit": "video", "file": sys.stdout}
        for i in tqdm.tqdm(numbers, "Finding sizes", **shown):
            keys[i] = (reads[i] and key(i)) or 0
        return keys

    def _try(self, number, function):
        """`function(row)`, or `None` if the row is left out."""
        if number < 0 or number in self.left_out:
            return None
        try:
            return function(self.rows[number])
        except Exception as error:  # A row may hold anything.
            known = isinstance(error, (ValueError, OSError))
            reason = words(error)
            if not known:
                reason = (
                    "A row must be usable for training. Received: row "
                    f"{self.rows[number]['id']}, which raises "
                    f"{type(error).__name__}: {error}"
                )
            if self.on_error != "raise":
                self._leave_out(number, reason)
            elif reason == str(error) and names_row(self.rows[number], reason):
                raise
            else:
                name = f"row {self.rows[number]['id']}"
                named = reason if name in reason else f"{reason} In {name}."
                raise ValueError(named) from error

    def _start(self, batch):
        """Start to make a batch; returns a function that waits for it."""
        future = self._threads.submit(self._make, batch)
        return lambda: self._clock.wait_for(future)

    def _make(self, batch):
        reads = [self._try(i, self._reader.frames) for i in batch.rows]
        parts = []
        for i, read in zip(batch.rows, reads):
            part = read and self._try(
                i, lambda row: self._example(row, read, batch.bucket)
            )
            parts.append(self._blank(batch.bucket) if part is None else part)
        return keras.tree.map_structure(
            lambda *arrays: np.concatenate(arrays), *parts
        )

    def _example(self, row, read, bucket):
        """A batch of one."""
        x = {"videos": [read()], **example(row)}
        return self._buckets.preprocess(x, bucket)

    def _blank(self, bucket):
        """A black video as an example of weight 0."""
        words = {"prompts": ["?"], "responses": ["."]}
        x = {"videos": [self._buckets.blank()], **words}
        x, y, weights = self._buckets.preprocess(x, bucket)
        return x, y, np.zeros_like(weights)

    def _leave_out(self, number, reason):
        with self._lock:
            if number in self.left_out or self._closed:
                return
            self.left_out[number] = reason
            if self.on_error == "report":
                row = self.rows[number]
                video = row.get("video")
                line = {
                    "id": row["id"],
                    "video": None if video is None else name_of(video),
                    "reason": reason,
                }
                with writing(self.report):
                    append_text(
                        self.report, json.dumps(line, default=str) + "\n"
                    )

    def close(self):
        """End the decoding processes."""
        self._closed = True  # From here on, batches read ahead fail.
        self._reader.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
