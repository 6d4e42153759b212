"""Accuracies and intervals, by hand."""

import math

import pytest

from keras_stts.evaluation import PARSERS
from keras_stts.evaluation import Question
from keras_stts.evaluation.scores import interval
from keras_stts.evaluation.scores import mark
from keras_stts.evaluation.scores import score


def test_wilson_by_hand():
    # Newcombe (1998), table I: 81 of 263 and 15 of 148.
    close = pytest.approx
    assert interval([True] * 81 + [False] * 182) == close(
        [0.2553, 0.3662], abs=1e-4
    )
    assert interval([True] * 15 + [False] * 133) == close(
        [0.0624, 0.1605], abs=1e-4
    )
    low, high = interval([True] * 4)
    assert high == 1 and low == close(4 / (4 + 1.96**2), abs=1e-4)
    assert interval([]) is None


def test_questions_of_one_video_count_less():
    right = [True, True, False, False] * 2
    alone = interval(right)
    # Pairs that agree: residuals of four videos are 1, -1, 1, -1, so the
    # variance is 4/3 * 4 / 64 = 1/12, that of questions alone 1/28.
    together = interval(right, list("aabbccdd"))
    n, z = 8 * 12 / 28, 1.96
    half = z * math.sqrt(0.25 / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    assert together == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)
    assert together[0] < alone[0] and alone[1] < together[1]
    # Pairs that disagree say no more than as many single questions.
    assert interval(right, list("abab" + "cdcd")) == alone


def test_all_right_counts_videos():
    assert interval([True] * 6, list("aabbcc")) == interval([True] * 3)
    # A single video says next to nothing, however many questions there are.
    low, high = interval([True, False] * 50, ["a"] * 100)
    assert low < 0.1 and high > 0.9


def question(name, answer=0, video="a", choices=("x", "y"), **categories):
    return Question(
        id=name,
        video=video,
        prompt="",
        answer=answer,
        choices=choices,
        categories=categories,
        parse=PARSERS["letter"],
    )


def test_unparsed_is_wrong_guessed_or_dropped():
    asked = question("1")
    assert mark(asked, "A") == {"parsed": 0, "right": True, "unparsed": False}
    lost = mark(asked, "?")
    assert lost == {"parsed": None, "right": False, "unparsed": True}
    assert mark(asked, "?", "dropped")["right"] is None
    assert mark(asked, "B", "dropped")["right"] is False
    guesses = [
        mark(question(str(i)), "?", "random")["right"] for i in range(200)
    ]
    assert 70 < sum(guesses) < 130
    assert guesses == [
        mark(question(str(i)), "?", "random")["right"] for i in range(200)
    ]


def test_score_by_hand():
    questions = [
        question("1", 0, "a", kind="near", tags=["u", "v"]),
        question("2", 0, "b", kind="near", tags=["v"]),
        question("3", 1, "c", kind="far", tags=[]),
        question("4", 1, "d", kind="far", tags=["u"]),
    ]
    texts = ["A", "B", "B", "none"]
    marks = [mark(q, text) for q, text in zip(questions, texts)]
    result = score(questions, marks)
    assert result["accuracy"] == 0.5 and result["n"] == 4
    assert result["unparsed"] == 0.25
    assert result["interval"] == interval([True, True, False, False])
    kinds = result["categories"]
    assert kinds["kind"]["near"]["accuracy"] == 0.5
    assert kinds["tags"]["v"]["n"] == 2 and kinds["tags"]["u"]["n"] == 2
    dropped = [mark(q, t, "dropped") for q, t in zip(questions, texts)]
    result = score(questions, dropped)
    assert result["accuracy"] == 2 / 3 and result["n"] == 3
    assert result["unparsed"] == 0.25
    assert result["categories"]["kind"]["far"]["n"] == 1
