import csv
import json
import os

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
        ("a.jsonl", b"\n", "which has no rows"),
        ("a.json", b"{}", "which is not a JSON list"),
        ("a.json", b"[1]", "must be a list of objects"),
        ("a.csv", b"video,prompt\na,b,c\n", "line 2 has more fields"),
        ("a.csv", b'video,prompt\n"a,b\n', "line 2 is damaged"),
        ("a.parquet", b"not parquet", "not Parquet, or is damaged"),
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


ENCODED = {
    "csv": "video,prompt,response\na.mp4,é,1\nb.mp4,what,2\n",
    "jsonl": '{"video": "a", "prompt": "é"}\n{"video": "b", "prompt": "c"}\n',
    "json": '[{"video": "a", "prompt": "é"}, {"video": "b", "prompt": ""}]',
}


@pytest.mark.parametrize("suffix", ENCODED)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path, suffix, encoding):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(ENCODED[suffix].encode(encoding))
    rows = read_manifest(path)
    assert [row["prompt"] for row in rows][0] == "é" and len(rows) == 2


@pytest.mark.parametrize("suffix", ENCODED)
@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp1252", "not UTF-8: line . has the byte 0xe9. .*-f WINDOWS-1252"),
        (
            "utf-16-le",
            "without a byte order mark: .* -f UTF-16 -t UTF-8",
        ),
    ],
)
def test_other_encodings(tmp_path, suffix, encoding, message):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(ENCODED[suffix].encode(encoding))
    with pytest.raises(ValueError, match=f"a.{suffix}', .*{message}"):
        read_manifest(path)


def test_damaged_rows_are_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    row = b'{"video": "a.mp4", "prompt": "c"}\n'
    path.write_bytes(row + b'{"video": "\xff"}\n\n' + row + b"{")
    with pytest.raises(
        ValueError, match="a.jsonl', .*line 2 has the byte 0xff"
    ):
        read_manifest(path)
    rows = read_manifest(path, on_error="keep")
    assert [row["id"] for row in rows] == [f"a.jsonl:{i}" for i in (1, 2, 3, 4)]
    assert [set(row) == {"id", "damage"} for row in rows] == [0, 1, 0, 1]
    assert "line 2" in rows[1]["damage"] and "line 5" in rows[3]["damage"]
    with pytest.raises(ValueError, match='"raise" or "keep". Received: on_er'):
        read_manifest(path, on_error="skip")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": ' + "9" * 5000 + "}", "line 1 is not JSON .*4300 digits"),
        ("[" * 99_999, "line 1 is nested too deep"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "deeper than 100"),
        ('{"prompt": 1, "prompt": 2}', "it has the key 'prompt' twice"),
        ('{"id": [1], "video": "a", "prompt": "b"}', "an id that is a list"),
    ],
)
def test_json_of_no_use(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=f"a.jsonl', .*{message}"):
        read_manifest(path)


def test_ids(tmp_path):
    """0 is one, nothing is none."""
    rows = [{"id": i, "video": "a", "prompt": "b"} for i in (0, None, "", 1.5)]
    path = write(tmp_path / "a.jsonl", rows)
    ids = [row["id"] for row in read_manifest(path)]
    assert ids == [0, "a.jsonl:2", "a.jsonl:3", 1.5]


PLACES = {
    "a.mp4": True,
    "./b/../a.mp4": True,
    "../a.mp4": False,
    "b/../../a.mp4": False,
    "/a.mp4": False,
    "link.mp4": False,
    "linked/a.mp4": False,
    "https://a.b/c.mp4": False,
    "file:///a.mp4": False,
}


@pytest.mark.parametrize("video", PLACES)
def test_a_table_leads_nowhere_else(tmp_path, video):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.mp4").symlink_to(tmp_path / "a.mp4")
    (folder / "linked").symlink_to(tmp_path)
    path = write(folder / "t.jsonl", [{"video": video, "prompt": "?"}])
    if PLACES[video]:
        found = read_manifest(path, folder)[0]["video"]
        assert found == str(folder / video) or found == f"{folder}/{video}"
    else:
        with pytest.raises(ValueError, match=f"t.jsonl:1 names '{video}', whi"):
            read_manifest(path, folder)
    # Without `folder` the table alone is named, and trusted.
    found = read_manifest(path)[0]["video"]
    assert found == (video if "://" in video else os.path.join(folder, video))


def test_rows_with_bytes(tmp_path):
    """As Hugging Face's datasets hold them."""
    whole = {"bytes": b"1", "path": "/x.mp4"}
    rows = [{"video": v, "prompt": "?"} for v in (whole, {"path": "a.mp4"})]
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = read_manifest(tmp_path / "a.parquet", tmp_path)
    assert [row["video"] for row in rows] == [whole, str(tmp_path / "a.mp4")]
