"""Tables of videos in few large files."""

import collections
import hashlib
import json

from keras_stts.data import records
from keras_stts.data.disk import writing
from keras_stts.data.manifest import read_manifest
from keras_stts.data.paths import as_path
from keras_stts.data.rows import check_damage
from keras_stts.data.rows import rate_of
from keras_stts.data.source import as_source
from keras_stts.data.source import is_row
from keras_stts.data.source import name_of
from keras_stts.data.source import opened
from keras_stts.data.workers import DecodePool

TABLE, LEFT_OUT = "rows.jsonl", "left_out.jsonl"
POLICIES = ("raise", "report")


def write_shards(
    manifest,
    output,
    format=None,
    *,
    converter=None,
    folder=None,
    columns=None,
    shard_bytes=2**30,
    on_error="raise",
    num_workers=2,
    time_limit=60.0,
):
    """Write the videos of a table into a few large files, called shards.

    Beside the shards, `rows.jsonl` is a table with the same rows in the same
    order. `read_manifest`, `VideoDataset`, `ShardSource` and
    `keras_stts.evaluate` read it like any other table. A video is stored once,
    however many rows ask about it. Each record is a `tf.train.Example`, so
    other programs can read it, too.

    Args:
        manifest: Path or address of a table, see
            `keras_stts.data.read_manifest`.
        output: Path or address of a folder without shards, created if it is
            missing.
        format: `"array_record"` (needs the package array_record, and `output`
            on this machine) or `"tfrecord"`. Defaults to the first if the
            package is installed.
        converter: Optional `keras_stts.VideoVLMVideoConverter` or
            `keras_stts.Qwen3VLVideoConverter`, such as
            `model.preprocessor.video_converter`. The frames that it samples,
            decoded and resized, are stored instead of the files. They are
            larger, are read several times as fast, and can be used with the
            same settings only.
        folder, columns: See `read_manifest`.
        shard_bytes: Int. Largest total size of the videos in a shard; a larger
            video gets a shard of its own.
        on_error: What to do with a row whose video cannot be read: `"raise"`
            an error, or `"report"` it in `left_out.jsonl` and go on.
        num_workers: Int. Number of decoding processes, with a `converter`.
        time_limit: Number. Seconds that decoding a video may take, with a
            `converter`.

    Returns:
        Path of the table, which is written last.

    Raises:
        FileNotFoundError: If the table or a video does not exist.
        ValueError: If the table or a video is damaged, `output` holds shards,
            or an argument is wrong.
        ImportError: If array_record is asked for and not installed.

    Example:
    ```python
    keras_stts.datasets.shapes.generate("clips", "train", 1)
    table = keras_stts.data.write_shards("clips/train.jsonl", "shards")
    rows = keras_stts.data.read_manifest(table)
    ```
    """
    format = format or records.default_format()
    _check(format, shard_bytes, on_error)
    output = as_path(output)
    table = output / TABLE
    if table.exists():
        raise ValueError(
            "`output` must be a folder without shards. Received: "
            f"{str(output)!r}, which holds some. Choose another or delete it."
        )
    if format == "array_record":
        records.check_array_record(output)
    rows = read_manifest(
        manifest,
        folder,
        columns,
        on_error="raise" if on_error == "raise" else "keep",
    )
    output.mkdir(parents=True, exist_ok=True)
    shards = _Shards(output, format, "frames" if converter else "video")
    left_out, lines = [], []
    with DecodePool(num_workers, time_limit) as pool, writing(output):
        with shards:
            for row, read in _reading(rows, pool, converter, 2 * num_workers):
                try:
                    place = read(shards, shard_bytes)
                except (ValueError, OSError) as error:
                    if on_error == "raise":
                        raise
                    left_out.append(_reason(row, error))
                    continue
                lines.append({**row, "video": place})
        if not lines:
            raise ValueError(
                "A table must have rows that can be used. Received: "
                f"{str(manifest)!r}, which has none: "
                f"{left_out[0]['reason']}"
            )
        if left_out:
            _write_lines(output / LEFT_OUT, left_out)
        _write_lines(table, lines)
    return table


def _check(format, shard_bytes, on_error):
    if format not in records.WRITERS:
        raise ValueError(
            f"`format` must be one of {', '.join(records.WRITERS)}. Received: "
            f"format={format!r}."
        )
    if not shard_bytes > 0:
        raise ValueError(
            f"`shard_bytes` must be positive. Received: {shard_bytes}."
        )
    if on_error not in POLICIES:
        raise ValueError(
            f"`on_error` must be one of {', '.join(POLICIES)}. Received: "
            f"on_error={on_error!r}."
        )


def _reason(row, error):
    video = row.get("video")
    video = None if video is None else name_of(video)
    return {"id": row["id"], "video": video, "reason": str(error)}


def _write_lines(path, lines):
    text = "".join(json.dumps(line, default=str) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


def _reading(rows, pool, converter, ahead):
    """Yield rows, each with an object that writes its video.

    The videos of the next rows are read meanwhile, each once.
    """
    known, waiting, rest = {}, collections.deque(), iter(rows)
    while True:
        while len(waiting) <= ahead:
            row = next(rest, None)
            if row is None:
                break
            key = _key(row, converter)
            if key not in known:
                known[key] = _Record(row, pool, converter)
            waiting.append((row, known[key]))
        if not waiting:
            return
        row, record = waiting.popleft()
        yield row, record.write


def _key(row, converter):
    """A key that differs for different videos."""
    video = row.get("video")
    if is_row(video) and video.get("bytes") is not None:
        video = hashlib.sha256(video["bytes"]).hexdigest()
    return repr((video, row.get("fps") if converter else None))


class _Record:
    """A video that is written when it is first asked for."""

    def __init__(self, row, pool, converter):
        self.row, self.future, self.settings = row, None, None
        self.place = self.error = None
        try:
            check_damage(row)
            if converter is not None:
                self.settings = {
                    "num_frames": converter.num_frames,
                    "max_fps": converter.max_fps,
                    "sampling": converter.sampling,
                    "size": converter.image_size,
                    "fps": rate_of(row),
                }
                self.future = pool.submit(row["video"], **self.settings)
        except (ValueError, OSError) as error:
            self.error = error

    def write(self, shards, shard_bytes):
        if self.error is not None:
            raise self.error
        if self.place is None:
            try:
                data = self._data()
            except (ValueError, OSError) as error:
                self.error = error
                raise
            self.place = shards.write(data, shard_bytes)
            self.future = None
        return self.place

    def _data(self):
        name = name_of(self.row["video"])
        if self.future is not None:
            frames, times = self.future.result()
            return records.frames_record(frames, times, self.settings, name)
        source = as_source(self.row["video"])
        if source.is_path and as_path(source.file).is_dir():
            raise ValueError(
                "A video in a shard must be a file. Received: "
                f"{source.name!r}, which is a folder. Pass a `converter`, "
                "which samples its frames."
            )
        try:
            with opened(source) as file:
                data = file.read()
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"`source` must be a video. Received: {source.name!r}, which "
                "does not exist. Check the path."
            ) from error
        if not data:
            raise ValueError(
                "A video must not be empty. Received: "
                f"{source.name!r}, which is empty (0 bytes). Copy it again."
            )
        return records.video_record(data, name)


class _Shards:
    """Writes the shards, one after the other."""

    def __init__(self, folder, format, kind):
        self.folder, self.format, self.kind = folder, format, kind
        self.count, self.writer = 0, None
        self.numbers = self.size = 0

    def write(self, data, most):
        """Write a record; returns its name, relative to the folder."""
        if self.writer is None or self.size + len(data) > most:
            self._next()
        start = self.writer.write(data)
        place = records.Place(self.name, self.kind, self.numbers, start)
        self.numbers, self.size = self.numbers + 1, self.size + len(data)
        return records.name_of_place(place)

    def _next(self):
        self.close()
        self.name = f"shard-{self.count:05d}{records.ENDINGS[self.format]}"
        self.writer = records.WRITERS[self.format](self.folder / self.name)
        self.count += 1
        self.numbers = self.size = 0

    def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
