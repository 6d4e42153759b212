import csv
import json

import pytest

from keras_stts.data import read_manifest

pytestmark = pytest.mark.once

ROWS = [
    {"video": "a.mp4", "question": "what, where?", "answer": "7", "n": "1"},
    {"video": "b/c.mp4", "question": 'who "is"?', "answer": "ü", "n": "2"},
]


def write(path, rows=ROWS):
    suffix = path.suffix
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix in (".csv", ".tsv"):
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            delimiter = "\t" if suffix == ".tsv" else ","
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
        parquet.write_table(table, path)
    else:
        tf = pytest.importorskip("tensorflow")
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                example = tf.train.Example()
                for name, value in row.items():
                    values = example.features.feature[name].bytes_list.value
                    values.append(value.encode())
                writer.write(example.SerializeToString())
    return path


@pytest.mark.parametrize(
    "suffix", ["jsonl", "json", "csv", "tsv", "parquet", "tfrecord"]
)
def test_all_formats_give_the_same_rows(tmp_path, suffix):
    path = write(tmp_path / f"train.{suffix}")
    rows = read_manifest(path)
    assert rows == [
        {
            "id": f"train.{suffix}:1",
            "video": str(tmp_path / "a.mp4"),
            "prompt": "what, where?",
            "response": "7",
            "n": "1",
        },
        {
            "id": f"train.{suffix}:2",
            "video": str(tmp_path / "b" / "c.mp4"),
            "prompt": 'who "is"?',
            "response": "ü",
            "n": "2",
        },
    ]
    assert read_manifest(path, "/videos")[1]["video"] == "/videos/b/c.mp4"


def test_columns(tmp_path):
    rows = [{"id": "x", "clip": "/a.mp4", "question": "?", "label": "!"}]
    path = write(tmp_path / "train.jsonl", rows)
    columns = {"video": "clip", "response": "label"}
    row = {"id": "x", "video": "/a.mp4", "prompt": "?", "response": "!"}
    assert read_manifest(path, columns=columns) == [row]
    with pytest.raises(ValueError, match="no column video or .* but clip, id"):
        read_manifest(path)
    with pytest.raises(ValueError, match="no column name, but clip"):
        read_manifest(path, columns={**columns, "prompt": "name"})
    with pytest.raises(ValueError, match="may name .* Received: clips"):
        read_manifest(path, columns={"clips": "clip"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"video": 1}\n{"video"\n',
            "a.jsonl', line 2 is not JSON",
        ),
        ("a.jsonl", b"[1]\n", "line 1 is not a JSON dict"),
        ("a.jsonl", b"\n", "which has no row"),
        ("a.json", b"{}", "which is not a JSON list"),
        ("a.json", b"[1]", "not a list of objects"),
        ("a.csv", b"video,prompt\na,b,c\n", "line 2 has more fields"),
        ("a.csv", b'video,prompt\n"a,b\n', "line 2 is damaged"),
        ("a.parquet", b"not parquet", "no Parquet file"),
        ("a.tfrecord", b"not a record at all", "no TFRecord of examples"),
        ("a.txt", b"", "must end in one of .jsonl"),
    ],
)
def test_damaged_tables(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if name.endswith("tfrecord"):
        pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match=message):
        read_manifest(path)


def test_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.jsonl', which does not"):
        read_manifest(tmp_path / "none.jsonl")
