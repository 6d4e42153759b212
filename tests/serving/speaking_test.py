"""Pieces of answers: whole letters, and nothing of what stops them."""

import pytest

from keras_stts.serving.speaking import Answer
from keras_stts.serving.speaking import Speaker

pytestmark = pytest.mark.once


def spoken(texts, stops=(), length=99, end=None):
    """Pieces and the answer, of what is heard token by token."""
    pieces = []
    speaker = Speaker(length, stops, pieces.append)
    for tokens, text in enumerate(texts, 1):
        speaker.hear(text, tokens, has_ended=text == end)
    speaker.end(texts[-1], len(texts))
    assert "".join(pieces) == speaker.answer.text
    return pieces, speaker.answer


def test_pieces():
    pieces, answer = spoken(["a", "a b", "a b c"])
    assert pieces == ["a", " b", " c"]
    assert answer == Answer("a b c", 3, "length")


def test_the_end_token():
    _, answer = spoken(["a", "ab", "ab"], end="ab")
    assert answer == Answer("ab", 2, "stop")


def test_unfinished_letters_wait():
    pieces, _ = spoken(["a", "a\ufffd", "a\ufffd\ufffd", "aü", "aüb"])
    assert pieces == ["a", "ü", "b"]
    pieces, _ = spoken(["a\ufffd"])
    assert pieces == ["a", "\ufffd"]  # It stays unfinished.


def test_the_longest_answer():
    pieces, answer = spoken(["a", "ab", "abc"], length=2)
    assert (pieces, answer) == (["a", "b"], Answer("ab", 2, "length"))


@pytest.mark.parametrize(
    "stops, pieces, reason",
    [
        (("never",), ["a", "END", " of", " it"], "length"),
        ((" of",), ["a", "END"], "stop"),
        (("END o",), ["a"], "stop"),
        (("D of i", "END of x"), ["a", "EN"], "stop"),
        (("x", "a"), [], "stop"),
        ((" it!",), ["a", "END", " of", " it"], "length"),
    ],
)
def test_stops(stops, pieces, reason):
    found, answer = spoken(["a", "aEND", "aEND of", "aEND of it"], stops)
    assert "".join(found) == "".join(pieces)
    assert answer.reason == reason
