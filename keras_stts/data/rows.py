"""From a row of a table to the frames of its video."""

import os

import numpy as np

from keras_stts.data.source import is_media
from keras_stts.data.workers import DecodePool


class RowReader:
    """Reads the videos of rows as a preprocessor wants them, or a cache.

    Args:
        converter: A `keras_stts.VideoVLMVideoConverter`.
        cache: Optional `keras_stts.data.FrameCache`.
        num_workers: Int. Processes that decode.
        time_limit: Number. Seconds that a video may take.
    """

    def __init__(self, converter, cache, num_workers, time_limit):
        self.cache = cache
        self.image_size = converter.image_size
        self.rule = {
            "num_frames": converter.num_frames,
            "max_fps": converter.max_fps,
            "sampling": converter.sampling,
        }
        self._pool = DecodePool(num_workers, time_limit)

    def frames(self, row):
        """Start to read; a function that gives (frames, times)."""
        settings = {"size": self.image_size, "fps": row.get("fps")}
        return self._start(self._pool.submit, row, settings)

    def times(self, row):
        """Start to find the times of what `frames` would read."""
        found = self._start(
            lambda source, **kwargs: _Frameless(
                self._pool.submit_times(source, **kwargs)
            ),
            row,
            {"fps": row.get("fps")},
        )
        return lambda: found()[1]

    def _start(self, submit, row, settings):
        check_row(row)
        source, settings = row["video"], {**self.rule, **settings}
        if self.cache is None:
            return submit(source, **settings).result
        try:
            key = self.cache.key(source, **settings)
        except OSError as error:
            raise FileNotFoundError(
                "`source` must be a video. Received: "
                f"{source!r}, which cannot be read ({error})."
            ) from error
        found = self.cache.read(key)
        if found is not None:
            return lambda: found
        future = submit(source, **settings)

        def finish():
            result = future.result()
            self.cache.write(key, *result)
            return result

        return finish

    def close(self):
        """End the processes that decode."""
        self._pool.close()


class _Frameless:
    """A future of times as one of (no frames, times)."""

    def __init__(self, future):
        self.future = future

    def result(self):
        return np.zeros(0, "uint8"), self.future.result()


def check_row(row):
    """Raise if a row is unusable whatever its video is."""
    for name in ("video", "prompt", "response"):
        value = row.get(name)
        if name == "video" and value and is_media(value):
            continue
        if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
            raise ValueError(
                f"A row must have a {name}. Received: row {row['id']} with "
                f"{name}={value!r}."
            )
