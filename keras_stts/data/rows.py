"""From a row of a table to the frames of its video."""

import decimal
import numbers
import os

import numpy as np

from keras_stts.data.records import is_frames
from keras_stts.data.records import parse
from keras_stts.data.records import read_frames_record
from keras_stts.data.sampled import ResizedVideo
from keras_stts.data.source import is_media
from keras_stts.data.subtitles import as_subtitles
from keras_stts.data.text import is_whole
from keras_stts.data.workers import DecodePool


class RowReader:
    """Reads the videos of rows for a preprocessor, through a cache if any.

    Args:
        converter: The preprocessor's video converter.
        cache: Optional `keras_stts.data.FrameCache`.
        num_workers: Int. Number of decoding processes.
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
        """Start to read; returns a function that gives a `ResizedVideo`."""
        settings = {"size": self.image_size, "fps": rate_of(row)}
        read = self._start(self._pool.submit, row, settings)

        def finish():
            frames, times = read()
            return ResizedVideo(frames, times, self.image_size)

        return finish

    def times(self, row):
        """Start to find the times of the frames that `frames` would read."""
        submit = _without_frames(self._pool.submit_times)
        found = self._start(submit, row, {"fps": rate_of(row)})
        return lambda: found()[1]

    def shape(self, row):
        """Start to find (T, height, width) of what `frames` would read."""
        settings = {"size": self.image_size, "fps": rate_of(row)}
        if is_frames(row.get("video")):
            read = self._start(self._pool.submit, row, settings)
            return lambda: read()[0].shape[:3]
        submit = _without_frames(self._pool.submit_shape)
        found = self._start(submit, row, settings, looks="at shapes")
        return lambda: tuple(found()[1].tolist())

    def _start(self, submit, row, settings, **key):
        """Start to read what is not in the cache under settings and `key`."""
        check_row(row)
        source, settings = row["video"], {**self.rule, **settings}
        if is_frames(source):
            settings["size"] = self.image_size
            return lambda: read_frames_record(parse(source), settings)
        if self.cache is None:
            return submit(source, **settings).result
        try:
            key = self.cache.key(source, **settings, **key)
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
        """End the decoding processes."""
        self._pool.close()


def _without_frames(submit):
    """Turns results into pairs (no frames, result), which a cache keeps."""
    return lambda source, **settings: _Frameless(submit(source, **settings))


class _Frameless:
    """Turns the future of a result into one of (no frames, result)."""

    def __init__(self, future):
        self.future = future

    def result(self):
        return np.zeros(0, "uint8"), np.asarray(self.future.result())


def check_damage(row):
    """Raise if `read_manifest` could not read a row."""
    if "damage" in row:
        raise ValueError(
            f"A row must be whole. Received: row {row['id']} of {row['damage']}"
        )


def check_row(row):
    """Raise if a row is unusable, whatever its video is."""
    check_damage(row)
    for name, good in (
        ("video", _is_video),
        ("prompt", _is_prompt),
        ("response", _is_response),
    ):
        if not good(row.get(name)):
            raise ValueError(
                f"A row must have a {name}. Received: row {row['id']} with "
                f"{name}={_shown(row.get(name))}."
            )
        if isinstance(row[name], str) and not is_whole(row[name]):
            raise ValueError(
                "A text must not hold a lone surrogate. Received: row "
                f"{row['id']} with {name}={_shown(row[name])}. Write it again."
            )


def rate_of(row):
    """Frames per second of a row, which are text in a CSV file."""
    rate = row.get("fps")
    if rate is None or rate == "":
        return None
    try:
        return float(rate)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`fps` of a row must be a number. Received: row "
            f"{row['id']} with fps={_shown(rate)}."
        ) from error


def _shown(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _is_text(value):
    return isinstance(value, str) and bool(value.strip())


def _is_video(value):
    if _is_text(value):
        return "\0" not in value
    is_path = isinstance(value, os.PathLike)
    return is_path or (is_media(value) and bool(value))


def _is_prompt(value):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    is_conversation = isinstance(value, (list, tuple)) and len(value) > 0
    return _is_text(value) or is_conversation


def _is_response(value):
    if isinstance(value, (bool, np.bool_)):
        return False
    if isinstance(value, (numbers.Real, decimal.Decimal)):
        # NaN does not equal itself.
        return value == value and abs(value) != float("inf")
    return _is_text(value)


def example(row):
    """The texts of a row, as a preprocessor takes them."""
    prompt = row["prompt"]
    if not isinstance(prompt, str):
        prompt = [without_none(message) for message in prompt]
    words = {"prompts": [prompt], "responses": [str(row["response"])]}
    if row.get("subtitles") not in (None, ""):
        words["subtitles"] = [as_subtitles(row["subtitles"])]
    return words


def without_none(value):
    """A value without the keys that a table fills with `None`."""
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [without_none(item) for item in value]
    return value
