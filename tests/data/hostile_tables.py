"""Tables of videos with faults in their rows, bytes and encodings.

`python -m tests.data.hostile_tables --count 500` tries all faults in all
formats, and that many tables that are damaged at random, each in a process
that is watched, and prints a table of what became of them.
"""

import argparse
import csv
import io
import json
import os
import pathlib
import random
import tempfile

from tests.watched import print_table
from tests.watched import watched

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "tfrecord")
GOOD = ("read", "left out", "refused")
CLIP = "clip.mp4"
BAD_ROW = 1  # Of three.


def conversation(content, role="user"):
    return [{"role": role, "content": content}]


def deep(levels):
    value = "a"
    for _ in range(levels):
        value = [value]
    return value


def part(**keys):
    return {"type": "text", "text": "what?", **keys}


# What a row may have in place of a good one, and is to be left out for.
FAULTS = {
    "video token": {"prompt": "what is <|video|>?"},
    "image token": {"prompt": "<|image|>"},
    "patch token": {"prompt": "a <im_patch> b"},
    "token in the answer": {"response": "<frame_start>"},
    "surrogate": {"prompt": "what\ud800?"},
    "surrogate in the answer": {"response": "\udfff"},
    "no prompt": {"prompt": None},
    "empty prompt": {"prompt": ""},
    "blank answer": {"response": " \n"},
    "no answer": {"response": None},
    "empty list": {"prompt": []},
    "no video": {"video": None},
    "blank video": {"video": " "},
    "missing video": {"video": "none.mp4"},
    "zero in a path": {"video": "a\0.mp4"},
    "long path": {"video": "a" * 9999 + ".mp4"},
    "folder": {"video": "empty"},
    "text as a video": {"video": "text.mp4"},
    "number as a video": {"video": 3},
    "list as a video": {"video": ["clip.mp4"]},
    "number as a prompt": {"prompt": 3},
    "truth as an answer": {"response": True},
    "not a number": {"response": float("nan")},
    "infinite": {"response": float("inf")},
    "list as an answer": {"response": ["a", "b"]},
    "dict as an answer": {"response": {"a": 1}},
    "long prompt": {"prompt": "word " * 9999},
    "long answer": {"response": "word " * 9999},
    "turns of text": {"prompt": ["a", "b"]},
    "no role": {"prompt": [{"content": "a"}]},
    "no content": {"prompt": [{"role": "user"}]},
    "number as content": {"prompt": conversation(3)},
    "unknown part": {"prompt": conversation([{"type": "audio"}])},
    "two videos": {"prompt": conversation([{"type": "video"}] * 2)},
    "an image": {"prompt": conversation([{"type": "image"}, part()])},
    "token in a turn": {"prompt": conversation([part(text="<|video|>")])},
    "token in a style": {"prompt": conversation([part(style="<im_end>")])},
    "surrogate in a turn": {"prompt": conversation("\ud83d")},
    "deeper turn": {"prompt": conversation([part(more=deep(300))])},
    "deepest turn": {"prompt": deep(700)},
    "list as an id": {"id": ["a"]},
    "deep id": {"id": deep(90)},
    "text as subtitles": {"subtitles": "hello"},
    "wrong subtitles": {"subtitles": [["a", "b"]]},
    "token in subtitles": {"subtitles": [[0, 1, "<|video|>"]]},
    "text as a rate": {"fps": "fast", "video": "pictures"},
    "another place": {"video": "../outside/clip.mp4"},
    "an absolute path": {"video": os.path.abspath("/etc/passwd")},
    "a link": {"video": "link.mp4"},
    "a link on the way": {"video": "linked/clip.mp4"},
    "an address": {"video": "https://127.0.0.1:9/clip.mp4"},
    "a file's address": {"video": "file:///etc/passwd"},
}
# Formats that hold these otherwise, and what becomes of them there.
OTHERWISE = {
    "csv: number as a prompt": "read",
    "tsv: number as a prompt": "read",
    "tfrecord: list as a video": "read",
    "tfrecord: list as an id": "read",
    # Too deep for a schema.
    "parquet: deep turn": None,
    "parquet: deeper turn": None,
    "parquet: deepest turn": None,
    "parquet: deep id": None,
}
# What a row may have and is used with.
FINE = {
    "deep turn": {"prompt": conversation([part(more=deep(60))] * 2)},
    "rate": {"fps": 2, "video": "pictures"},
    "number": {"response": 7},
    "zero": {"response": 0},
    "decimal": {"response": 1.5},
    "id of 0": {"id": 0},
    "turns": {"prompt": conversation("what?")},
    "turns with parts": {
        "prompt": conversation([{"type": "video", "text": None}, part()])
    },
    "more turns": {
        "prompt": conversation("a")
        + conversation("b", "assistant")
        + conversation("c")
    },
    "subtitles": {"subtitles": [[0, 1, "hello"]]},
    "more columns": {"other": {"a": [1]}, "empty": None},
    "other letters": {"prompt": "日本\u2028é", "response": "\U0001f600"},
    "lines": {"prompt": "a\r\nb\nc"},
    "path": {"video": "./clip.mp4"},
    "path inside": {"video": os.path.join("empty", "..", "clip.mp4")},
}
RAW = {
    "empty": b"",
    "blank": b"\n\n  \n",
    "zeros": bytes(99),
    "noise": bytes(range(256)) * 9,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(50),
    "deep": b"[" * 99_999,
    "deep objects": b'{"a":' * 99_999,
    "quote": b'video,prompt,response\n"clip.mp4,a,b\n' + b"x,y,z\n" * 99,
    "long field": b"video,prompt,response\nclip.mp4,"
    + b"a" * 200_000
    + b",b\nclip.mp4,a,b\n",
    "header": b"video,prompt,response\n",
    "no columns": b'{"a": 1}\n',
    "same columns": b"video,prompt,prompt,response\nclip.mp4,a,b,c\n",
    "same keys": b'{"video": "clip.mp4", "prompt": "a", "prompt": "b", '
    b'"response": "c"}\n',
    "long number": b'{"video": "clip.mp4", "prompt": "a", "response": '
    + b"9" * 9999
    + b"}\n",
    "long exponent": b'{"video": "clip.mp4", "prompt": "a", "response": '
    b"1e99999}\n",
    "mark inside": b'{"video": "clip.mp4", "prompt": "a", "response": "b"}\n'
    b'\xef\xbb\xbf{"video": "clip.mp4", "prompt": "a", "response": "b"}\n',
}
ENCODINGS = (
    "utf-8-sig",
    "utf-16",
    "utf-32",
    "utf-16-le",
    "utf-16-be",
    "cp1252",
    "shift-jis",
    "utf-7",
)


def rows(change=None):
    """Three rows, of which the second is changed."""
    good = [
        {"id": f"row {i}", "video": CLIP, "prompt": "what?", "response": "é"}
        for i in range(3)
    ]
    good[BAD_ROW] |= change or {}
    return good


def written(suffix, table):
    """Bytes of a table, or `None` if the format cannot hold it."""
    if suffix in ("jsonl", "json"):
        lines = [json.dumps(row) for row in table]
        text = "\n".join(lines) + "\n"
        return (text if suffix == "jsonl" else f"[{','.join(lines)}]").encode()
    if suffix in ("csv", "tsv"):
        return _csv(table, "\t" if suffix == "tsv" else ",")
    try:
        return _parquet(table) if suffix == "parquet" else _tfrecord(table)
    except Exception:
        return None


def _csv(table, delimiter):
    names = list(dict.fromkeys(name for row in table for name in row))
    if any(
        isinstance(v, (dict, list, bool)) for r in table for v in r.values()
    ):
        return None  # As words these are words.
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(table)
    if "nan" in file.getvalue() or "inf" in file.getvalue():
        return None
    return file.getvalue().encode("utf-8", "surrogatepass")


def _parquet(table):
    import pyarrow
    import pyarrow.parquet

    names = list(dict.fromkeys(name for row in table for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in table]
        kinds = {type(value) for value in values} - {type(None)}
        if len(kinds) > 1:  # A column is of one kind.
            values = [table[BAD_ROW].get(name)] * len(values)
        if kinds == {str}:
            data = [v and v.encode("utf-8", "surrogatepass") for v in values]
            raw = pyarrow.array(data, pyarrow.binary())
            columns[name] = raw.cast(pyarrow.string(), safe=False)
        else:
            columns[name] = pyarrow.array(values)
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def _tfrecord(table):
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a")
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in table:
                example = tf.train.Example()
                for name, value in row.items():
                    _feature(example.features.feature[name], value)
                writer.write(example.SerializeToString())
        return path.read_bytes()


def _feature(feature, value):
    if value is None:
        return
    values = value if isinstance(value, list) else [value]
    if all(isinstance(v, str) for v in values):
        data = [v.encode("utf-8", "surrogatepass") for v in values]
        feature.bytes_list.value.extend(data)
    elif all(isinstance(v, int) for v in values):
        feature.int64_list.value.extend(values)
    else:
        feature.float_list.value.extend(values)


def cases():
    """Yield (name, (suffix, bytes, what is to become of it))."""
    for suffix in FORMATS:
        for wanted, changes in (("left out", FAULTS), ("read", FINE)):
            for name, change in changes.items():
                data = written(suffix, rows(change))
                if data is not None:
                    name = f"{suffix}: {name}"
                    yield name, (suffix, data, OTHERWISE.get(name, wanted))
        for name, data in RAW.items():
            yield f"{suffix}: {name}", (suffix, data, None)
        for encoding in ENCODINGS if suffix not in FORMATS[4:] else ():
            text = written(suffix, rows()).decode()
            if suffix in ("jsonl", "json"):
                text = text.replace("\\u00e9", "é")
            data = text.encode(encoding, "replace")
            yield f"{suffix}: {encoding}", (suffix, data, None)


def made(seed):
    """A table that is damaged at random."""
    rng = random.Random(seed)
    suffix = FORMATS[seed % len(FORMATS)]
    data = written(suffix, rows(rng.choice([None, *FINE.values()])))
    data = bytearray(data or written("jsonl", rows()))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) or 1)
        kind = rng.randrange(4)
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + rng.randint(1, 20)]
        else:
            data[place:place] = rng.randbytes(rng.randint(1, 8))
    return suffix, bytes(data), None


class _World:
    """A folder of videos, and what reads them; made once a process."""

    made = None

    def __init__(self):
        import numpy as np

        from keras_stts.data import FrameCache
        from tests.data.reading_test import write
        from tests.models import tiny

        self.base = pathlib.Path(tempfile.mkdtemp())
        self.folder, outside = self.base / "inside", self.base / "outside"
        for folder in (self.folder, outside, self.folder / "empty"):
            folder.mkdir()
        write(self.folder / CLIP, "-c:v libx264", seconds=1)
        (outside / CLIP).write_bytes((self.folder / CLIP).read_bytes())
        (self.folder / "text.mp4").write_text("no video")
        (self.folder / "link.mp4").symlink_to(outside / CLIP)
        (self.folder / "linked").symlink_to(outside)
        pictures = self.folder / "pictures"
        pictures.mkdir()
        import imageio.v3 as iio

        for i in range(2):
            iio.imwrite(pictures / f"{i}.png", np.zeros((16, 16, 3), "uint8"))
        self.preprocessor = tiny.preprocessor(sequence_length=64)
        self.cache = FrameCache(self.base / "cache")

    @classmethod
    def get(cls):
        cls.made = cls.made or cls()
        return cls.made


def outcome(case):
    """What reading a table and all of its batches ends in."""
    from keras_stts.data import read_manifest
    from keras_stts.data import video_dataset_from_manifest

    world = _World.get()
    if case is None:
        return "ready"
    suffix, data, wanted = case
    path = world.base / f"table.{suffix}"
    path.write_bytes(data)
    report = world.base / "report.jsonl"
    report.unlink(missing_ok=True)
    try:
        dataset = video_dataset_from_manifest(
            path,
            world.preprocessor,
            2,
            folder=world.folder,
            cache=world.cache,
            on_error="report",
            report=report,
            num_workers=1,
            shuffle=False,
        )
    except (ValueError, OSError) as error:
        if wanted is not None and f"row {BAD_ROW}" not in str(error):
            columns = "which has no column" in str(error)
            whole = wanted == "left out" and (suffix == "json" or columns)
            if not whole:
                return f"wrong: refused, {error}"[:300]
        return _judged(error, path)
    with dataset:
        weights = [dataset[i][2].any(-1) for i in range(len(dataset))]
    used = int(sum(w.sum() for w in weights))
    left = dataset.left_out
    lines = report.read_text().splitlines() if report.exists() else []
    reasons = [json.loads(line) for line in lines]
    if used + len(left) != len(dataset.rows) or len(reasons) != len(left):
        return f"silent: {used} used and {len(left)} left out"
    if not all("Received" in line["reason"] for line in reasons):
        return f"wrong: bad reason {reasons[0]['reason']}"[:300]
    if wanted == "read" and left:
        return f"wrong: left out, {reasons[0]['reason']}"[:300]
    if wanted == "left out" and BAD_ROW not in left:
        return "silent: the row is used"
    if suffix != "parquet" and wanted == "left out" and len(left) > 1:
        return f"wrong: more is left out, {reasons}"[:300]
    try:
        read_manifest(path, world.folder)
    except (ValueError, OSError) as error:
        return "left out" if left else f"wrong: {error}"[:300]
    return "left out" if left else "read"


def _judged(error, path):
    message = str(error)
    good = "Received" in message and path.name in message
    good = good and len(message) < 3000
    return "refused" if good else f"wrong: bad message {message}"[:300]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    tables = [*cases(), *((f"seed {i}", made(i)) for i in seeds)]
    return print_table(watched(outcome, tables, 60.0), GOOD)


if __name__ == "__main__":
    raise SystemExit(main())
