"""Tables validated by TensorFlow Data Validation itself.

It runs in an environment of its own, which is made at the first run (a minute
or two) and found again by the next.
"""

import json
import os
import pathlib
import re
import shutil

import pytest

from keras_stts.data import __main__ as command
from keras_stts.data import validate
from keras_stts.data.validation import environment
from keras_stts.datasets import shapes
from tests.data.reading_test import write
from tests.data.video_test import ffmpeg

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        environment.python()
    except RuntimeError:
        environment.install()


def dump(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two tables that are alike."""
    folder = tmp_path_factory.mktemp("data")
    shapes.generate(folder, "train", 40)
    shapes.generate(folder, "validation", 16)
    return folder


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def clean(data):
    here = os.getcwd()
    os.chdir(data)
    try:
        code = command.main(
            ["validate", "train.jsonl", "--against", "validation.jsonl"]
            + ["--output", "found"]
        )
    finally:
        os.chdir(here)
    return code, data / "found"


def test_alike_tables_have_no_anomalies(clean):
    code, output = clean
    found = json.loads((output / "anomalies.json").read_text())
    assert found["anomalies"] == [] and code == 0
    train = found["statistics"]["train.jsonl"]
    assert (train["rows"], train["videos"], train["unreadable"]) == (320, 40, 0)
    assert train["features"]["video_frames"]["mean"] == shapes.NUM_FRAMES
    assert train["features"]["response"]["count"] == 320
    against = found["statistics"]["validation.jsonl"]
    assert against["features"]["video_width"]["max"] == 4 * shapes.FRAME_SIZE


def test_what_is_written(clean):
    _, output = clean
    assert {path.name for path in output.iterdir()} == {
        "anomalies.json",
        "facts.jsonl",
        "report.html",
        "schema.pbtxt",
        "statistics.pbtxt",
        "statistics_against.pbtxt",
    }
    page = (output / "report.html").read_text()
    assert "facets-overview" in page and "video_brightness" in page
    schema = (output / "schema.pbtxt").read_text()
    assert 'name: "video_fps"' in schema and "drift_comparator" in schema
    assert "num_examples: 320" in (output / "statistics.pbtxt").read_text()
    assert len((output / "facts.jsonl").read_text().splitlines()) == 56


def spoil(data, folder):
    """Rows of a table with which everything is wrong, and what that is."""
    rows = rows_of(data / "validation.jsonl")
    for row in rows:
        row["video"] = str(data / row["video"])
        del row["clip"]  # A column that is missing,
        row["source"] = "web"  # a new one,
        if row["kind"] in ("count", "where"):
            row["answer"] = "many"  # and new answers.
    rows[1]["answer"] = " "
    rows[2]["question"] = None
    rows.append(rows[-1])
    first = data / "train" / "000000.mp4"
    copy = folder / "copy.mp4"
    shutil.copy(data / "train" / "000001.mp4", copy)
    anew = ffmpeg(
        "-i", data / "train" / "000002.mp4", "-c:v", "libx264", "-crf", 30,
        folder / "anew.mp4",
    )  # fmt: skip
    twice = folder / "twice.mp4"
    shutil.copy(data / "validation" / "000003.mp4", twice)
    cut, none = folder / "cut.mp4", folder / "none.mp4"
    cut.write_bytes(copy.read_bytes()[:20000])
    # Another rate and size.
    other = [
        write(folder / f"{i}.mp4", f"-ss {i} -c:v libx264", seconds=3 + i)
        for i in range(8)
    ]
    paths = [first, copy, anew, twice, cut, none, *other]
    question = {
        "kind": "shape",
        "question": "what shape is it?",
        "answer": "circle",
    }
    rows += [{**question, "video": str(p), "source": "web"} for p in paths]
    return rows


def test_all_that_is_wrong_is_found(data, clean, tmp_path):
    table = dump(tmp_path / "bad.jsonl", spoil(data, tmp_path))
    result = validate(data / "train.jsonl", table, output=tmp_path / "found")
    found = {}
    for anomaly in result.anomalies:
        assert anomaly.table == table
        found.setdefault(anomaly.kind, {})[anomaly.feature] = anomaly
    cases = {
        kind: [pathlib.Path(name).name for name, _ in those["video"].cases]
        for kind, those in found.items()
        if "video" in those
    }
    assert cases == {
        "unreadable": ["cut.mp4", "none.mp4"],
        "duplicate_video": ["twice.mp4"],
        "leaked_video": ["000000.mp4", "copy.mp4"],
        "leaked_look": ["anew.mp4"],
    }
    assert found["duplicate_row"]["row"].cases == [("bad.jsonl:129", "")]
    assert {
        kind: set(those) for kind, those in found.items() if kind not in cases
    } == {
        "duplicate_row": {"row"},
        "schema_new_column": {"source"},
        "schema_missing_column": {"clip"},
        "enum_type_unexpected_string_values": {"response"},
        "feature_type_low_fraction_present": {"response", "prompt_length"},
        "skew": {"response"},
        "drift": {
            f"video_{name}"
            for name in ("fps", "width", "height", "frames", "seconds")
        },
    }
    lacking = found["feature_type_low_fraction_present"]["response"]
    assert "Rows without: bad.jsonl:2." in lacking.description
    page = result.report.read_text()
    for anomaly in result.anomalies:
        assert anomaly.kind in page


def test_a_schema_that_was_edited(data, clean, tmp_path, capsys):
    _, output = clean
    text = (output / "schema.pbtxt").read_text()
    text = re.sub("min_domain_mass: .*", "min_domain_mass: 1.0", text)
    schema = tmp_path / "edited.pbtxt"
    schema.write_text(re.sub('value: "left"', 'value: "west"', text))
    shutil.copy(output / "facts.jsonl", tmp_path)
    code = command.main(
        ["validate", str(data / "train.jsonl"), "--schema", str(schema)]
        + ["--output", str(tmp_path)]
        + ["--pipeline-option=--runner=FnApiRunner"]
    )
    assert code == 1
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("1 anomaly")
    assert "response: enum_type_unexpected_string_values" in lines[start + 1]
    assert "left" in lines[start + 1]
    assert not (tmp_path / "statistics_against.pbtxt").exists()
    assert (tmp_path / "schema.pbtxt").read_text() == schema.read_text()


def test_a_file_that_is_no_schema(data, clean, tmp_path):
    schema = tmp_path / "schema.pbtxt"
    schema.write_text("no schema")
    shutil.copy(clean[1] / "facts.jsonl", tmp_path)
    with pytest.raises(ValueError, match="schema.pbtxt', which is none"):
        validate(data / "train.jsonl", schema=schema, output=tmp_path)


def test_wrong_arguments(data):
    table = data / "train.jsonl"
    with pytest.raises(FileNotFoundError, match="none.pbtxt', which does not"):
        validate(table, schema="none.pbtxt")
    with pytest.raises(ValueError, match="train.jsonl' twice. Leave it out"):
        validate(table, table)


def test_wrong_usage(capsys):
    assert command.main(["validate", "none.jsonl"]) == 2
    assert "none.jsonl', which does not exist" in capsys.readouterr().err
    for arguments in ([], ["validate"], ["validate", "a", "--column", "b"]):
        with pytest.raises(SystemExit) as error:
            command.main(arguments)
        assert error.value.code == 2


def test_an_interrupted_run_says_where_it_is(monkeypatch, capsys):
    def interrupted(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "validate", interrupted)
    assert command.main(["validate", "a.jsonl", "--output", "there"]) == 130
    assert "kept in there/facts.jsonl" in capsys.readouterr().err
