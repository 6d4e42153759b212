"""Users' own tables as benchmarks."""

import json

import pytest

import keras_stts
from keras_stts.evaluation.benchmarks import get_benchmark
from keras_stts.evaluation.scores import mark

pytestmark = pytest.mark.once
SHOWN = (
    "what?\nA. red\nB. blue\n"
    "Answer with the option's letter from the given choices directly."
)


def load(folder, *rows, name="t.jsonl"):
    path = folder / name
    rows = [{"video": "a.mp4", "question": "what?", **row} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return get_benchmark(path).load(folder)


def test_choices(tmp_path):
    answers = ["blue", "B", 1, 1.0, "1"]
    questions = load(
        tmp_path, *({"choices": ["red", "blue"], "answer": a} for a in answers)
    )
    assert [q.answer for q in questions] == [1] * len(answers)
    for question in questions:
        assert question.choices == ("red", "blue")
        assert question.prompt == SHOWN
        for said, right in (("B", True), ("blue.", True), ("A", False)):
            assert mark(question, said)["right"] == right


def test_choices_that_are_numbers(tmp_path):
    """A number that is a choice is that one."""
    rows = [{"choices": [2, 3, 1], "answer": a} for a in (1, "1", "A")]
    assert [q.answer for q in load(tmp_path, *rows)] == [2, 2, 0]
    rows = [{"choices": ["10", "20"], "answer": a} for a in (1, "20")]
    assert [q.answer for q in load(tmp_path, *rows)] == [1, 1]


def test_some_rows_have_choices(tmp_path):
    none, empty = {"answer": 7}, {"answer": 0, "choices": []}
    questions = load(tmp_path, none, empty, {"choices": ["x"], "answer": "x"})
    assert [q.answer for q in questions] == ["7", "0", 0]
    assert questions[0].prompt == questions[1].prompt == "what?"


def test_choices_of_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        'id,video,question,answer,choices\n0,a.mp4,what?,B,"[""red"",""blue""]"'
        "\n1,a.mp4,who?,he,\n"
    )
    one, other = get_benchmark(path).load(tmp_path)
    assert (one.id, one.prompt, one.answer) == ("0", SHOWN, 1)
    assert (other.id, other.prompt, other.answer) == ("1", "who?", "he")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"choices": "red|blue"}, "must be a list of texts .*t.jsonl:1 with"),
        ({"choices": {"A": "red"}}, "must be a list of texts or numbers"),
        ({"choices": ["red", None]}, "must be a list of texts or numbers"),
        ({"choices": ["red"], "answer": "blue"}, "must be one of the choices"),
        ({"choices": ["red"], "answer": 3}, "must be one of the choices"),
        ({"video": "https://a.b/c.mp4"}, "^A table .* which leads out of"),
        ({"video": {"bytes": "a"}}, "must name videos by their paths"),
        ({"video": None}, "by their paths.* with video=None"),
        ({"subtitles": "none"}, "Subtitles must be a list"),
    ],
)
def test_wrong_rows(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, {"answer": "red", **row})


def test_ids_of_0(tmp_path):
    ids = [
        q.id for q in load(tmp_path, *({"id": i, "answer": 1} for i in (0, 1)))
    ]
    assert ids == ["0", "1"]


def test_conversations(tmp_path):
    said = [
        {"role": "user", "content": "who?"},
        {"role": "assistant", "content": "she", "name": None},
    ]
    last = {"role": "user", "content": "what?"}
    parts = [{"type": "video"}, {"type": "text", "text": "what?"}]
    answer = {"answer": "red", "choices": ["red", "blue"]}
    questions = load(
        tmp_path,
        {"question": [*said, last], "answer": "x"},
        {"question": [*said, last], **answer},
        {"question": [*said, {**last, "content": parts}], **answer},
    )
    del said[1]["name"]
    assert questions[0].prompt == [*said, last]
    assert questions[1].prompt == [*said, {**last, "content": SHOWN}]
    shown = [parts[0], {"type": "text", "text": SHOWN}]
    assert questions[2].prompt == [*said, {**last, "content": shown}]


def test_evaluate(tmp_path):
    """Other folders, conversations, and rows that cannot be asked."""
    clips = keras_stts.datasets.shapes.generate(tmp_path / "clips", "test", 1)
    turns = [{"role": "user", "content": clips[0]["question"]}]
    rows = [
        {"id": 0, "video": str(clips[0]["video"]), "prompt": turns},
        {"id": 1, "video": "../clips/none.mp4", "prompt": "?"},
        {"id": 2, "video": str(clips[1]["video"]), "prompt": "<|video|>"},
    ]
    folder = tmp_path / "tables"
    folder.mkdir()
    path = folder / "t.jsonl"
    rows.append({"id": 3, "video": "a", "prompt": "?", "choices": ["red"]})
    lines = [json.dumps({**row, "response": "left"}) + "\n" for row in rows]
    path.write_bytes("".join(lines).encode() + b'{"prompt": "\xff"}')
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    result = keras_stts.evaluate(
        model,
        path,
        on_error="report",
        output=tmp_path / "out",
        progress=False,
        batch_size=2,
    )
    assert result["unreadable"] == 4
    (report,) = (tmp_path / "out").glob("*/unreadable.json")
    reasons = {r["id"]: r["reason"] for r in json.loads(report.read_text())}
    assert set(reasons) == {"1", "2", "3", "t.jsonl:5"}
    assert "vision tokens" in reasons["2"]
    assert "one of the choices" in reasons["3"]
    assert "line 5 has the byte 0xff" in reasons["t.jsonl:5"]
    with pytest.raises(ValueError, match="line 5 has the byte"):
        keras_stts.evaluate(model, path, progress=False)
    path.write_text("".join(lines[:3]))
    with pytest.raises(ValueError, match="leads out of folder"):
        keras_stts.evaluate(model, path, folder, progress=False)
