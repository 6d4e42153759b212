"""Every parser, with and without choices, and right answers in any form."""

import itertools

import pytest

from keras_stts.evaluation import PARSERS
from keras_stts.evaluation import Benchmark
from keras_stts.evaluation import runner
from keras_stts.evaluation.scores import mark
from tests.evaluation.evaluate_test import Stub
from tests.evaluation.evaluate_test import write
from tests.models import tiny

pytestmark = pytest.mark.once

CHOICES = {
    "yes or no": ["Yes", "No"],
    "caption": ["Caption A: a dog runs", "Caption B: a dog sits"],
}
# A right answer and a wrong one as a model says them.
SAID = {
    "yes or no": ("No.", "yes"),
    "caption": ("Caption B", "A. a dog runs"),
    "first of A-D": ("The answer is B.", "C"),
    "closest": ("dark green", "bleu"),
    "exact": ("dark green.", "blue"),
}


def load(tmp_path, parse, **row):
    row = {"id": 7, "video": "a.mp4", "question": "?"} | row
    (asked,) = Benchmark("mine", lambda _: [row], parse=parse).load(tmp_path)
    return asked


@pytest.mark.parametrize("form", ["number", "digit", "letter", "words"])
@pytest.mark.parametrize("parse", PARSERS)
def test_right_is_right_and_wrong_is_wrong(tmp_path, parse, form):
    choices = CHOICES.get(parse, ["red", "dark green", "blue"])
    right = {"number": 1, "digit": "1", "letter": "B", "words": choices[1]}
    asked = load(tmp_path, parse, choices=choices, answer=right[form])
    said, other = SAID.get(parse, ("B", "C"))
    assert asked.answer == 1
    assert mark(asked, said)["right"] is True
    assert mark(asked, other)["right"] is False
    assert mark(asked, "")["unparsed"]


@pytest.mark.parametrize("parse", PARSERS)
def test_without_choices_only_words_are_compared(tmp_path, parse):
    if parse == "exact":
        asked = load(tmp_path, parse, answer=3)
        assert mark(asked, "3.")["right"] and not mark(asked, "4")["right"]
        return
    for answer in ("B", "dark green", 1):
        with pytest.raises(ValueError, match="must know the right.*Pass `cho"):
            load(tmp_path, parse, answer=answer)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"parse": "first of A-D", "answer": "E"}, "parse='first of A-D', for"),
        ({"parse": "caption", "answer": ""}, "answer=''"),
        ({"parse": "exact", "answer": ""}, "one of the choices.*answer=''"),
        ({"parse": "exact", "answer": "AB"}, "one of the choices.*'AB'"),
        ({"parse": "exact", "answer": 5}, "one of the choices.*answer=5"),
        ({"parse": "exact", "answer": None}, "one of the choices.*None"),
        ({"parse": "guess", "answer": 0}, "`parse` must be a fun.*'guess'"),
    ],
)
def test_right_answers_that_cannot_be_given_are_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **{"choices": list("pqrst")} | row)


def test_bad_benchmarks_are_refused(tmp_path):
    for answer in (None, "", "  "):
        with pytest.raises(ValueError, match="a text if there are no choices"):
            load(tmp_path, "exact", answer=answer)
    with pytest.raises(ValueError, match="26 choices.*Received: 27 of quest"):
        load(tmp_path, "exact", choices=map(str, range(27)), answer=0)
    with pytest.raises(ValueError, match="`parse` must be.*Received: 'words'"):
        Benchmark("mine", iter, parse="words")
    with pytest.raises(ValueError, match="`unparsed` must be.*'guess'"):
        Benchmark("mine", iter, unparsed="guess")
    mine = Benchmark("mine", lambda _: [dict.fromkeys(ROW, "a")], "{colour}")
    with pytest.raises(ValueError, match="may name.*question a.*'colour'"):
        mine.load(tmp_path)


ROW = ("id", "video", "question", "answer")


@pytest.mark.parametrize(
    ("returned", "right"),
    [("B", True), ("Dark Green", True), (1, True), (1.0, True)]
    + [("A", False), (0, False), ("no choice", False)],
)
def test_parsers_of_users_may_name_choices(tmp_path, returned, right):
    choices = ["red", "dark green"]
    asked = load(tmp_path, lambda *_: returned, choices=choices, answer="B")
    assert mark(asked, "anything")["right"] is right


def test_parsers_of_users_may_return_numbers(tmp_path):
    assert mark(load(tmp_path, lambda *_: 3, answer=3), "three")["right"]
    asked = load(tmp_path, lambda *_: None, answer="up")
    marks = mark(asked, "up", rule="random")
    assert marks["unparsed"] and not marks["right"]


def test_evaluate_counts_words_of_choices_as_right(tmp_path, monkeypatch):
    """With the default parser, whichever way the right one is written."""
    monkeypatch.setattr(runner, "Answerer", Stub)  # Says the first letter.
    write(tmp_path / "a.mp4", "-c:v libx264", rate=4, seconds=1)
    rows = [
        {"id": i, "video": "a.mp4", "question": question, "answer": answer}
        | {"choices": ["x", "y"]}
        for i, (question, answer) in enumerate(
            itertools.product("xyab", (0, "B"))
        )
    ]
    mine = Benchmark("mine", lambda _: rows)
    result = runner.evaluate(tiny.model(), mine, tmp_path, progress=False)
    assert result["accuracy"] == 0.5 and result["unparsed"] == 0
