"""What parsers make of odd answers, one by one."""

import pytest

from keras_stts.evaluation import PARSERS
from keras_stts.evaluation import Question
from keras_stts.evaluation.parsers import edit_distance

A, B, C, D, E, NONE = 0, 1, 2, 3, 4, None
COLOURS = ("Red", "Dark green", "Green", "Blue")
CAPTIONS = ("Caption A: A dog runs.", "Caption B: A dog sits.")
OPTIONS = ("Option 1: up", "Option 2: down")
LINES = ("A. up", "B. down", "C. left")


def question(choices=COLOURS, answer=1):
    parse = PARSERS["exact"]
    return Question(
        id="1", video="", prompt="", answer=answer, choices=choices, parse=parse
    )


CASES = {
    ("letter", COLOURS): {
        "B": B,
        "b": B,
        "B.": B,
        " B\n": B,
        "b) dark green": B,
        "Dark green": D,  # As published: what begins with a D is a D.
        "apple": A,
        "(B)": NONE,
        "The answer is B": NONE,
        "E": NONE,
        "2": NONE,
        "": NONE,
        "   ": NONE,
        "\n": NONE,
        "Ｂ": NONE,
        "ß": NONE,
        "ﬁ": NONE,
    },
    ("capital", COLOURS): {
        "C": C,
        "C. Green": C,
        "Because": B,
        "c": NONE,
        "apple": NONE,
        "(C)": NONE,
        "": NONE,
    },
    ("letter word", COLOURS): {
        "B": B,
        "B.": B,
        "(B)": B,
        "The answer is C.": C,
        "A or B": A,
        "A man is walking": A,
        "Option:D": D,
        "**B**": B,
        "D": D,
        "E": NONE,
        "b": NONE,
        "Blue": NONE,
        "AB": NONE,
        "B_1": NONE,
        "A1": NONE,
        "": NONE,
    },
    ("first of A-D", COLOURS): {
        "B": B,
        "The best answer is: C": C,
        "The answer is D.": D,
        "Best answer: C": C,
        "Best option: B": B,
        "The correct option is (A)": A,
        "Answer: C": A,  # The A of "Answer".
        "Blue": B,
        "E": NONE,
        "b": NONE,
        "The answer is ": NONE,
        "I cannot tell": NONE,
        "": NONE,
    },
    ("first of A-E", COLOURS + ("Grey",)): {
        "E": E,
        "(E)": E,
        "The answer is B": B,
        "Every one": E,
        "F": NONE,
        "none": NONE,
        "": NONE,
    },
    ("marked last", COLOURS): {
        "B": B,
        "B.": B,
        "(B)": B,
        "(A) or rather (C)": C,
        "(C), not A": C,
        "A and then B": B,
        "It is B, I think": NONE,
        "It is B I think": B,
        "A. Red": A,
        "A. Red\nB. Dark green": B,
        "'B'": B,
        "!?B?!": B,
        "The answer is D": D,
        "The answer is: D.": D,
        "A cat": A,  # The article.
        "b": NONE,
        "(b)": NONE,
        "E": NONE,
        "BC": NONE,
        "Dark green": NONE,
        "": NONE,
        "...": NONE,
    },
    ("marked first", COLOURS): {
        "(A) or rather (C)": A,
        "C, that is C or B": C,
        "A. Red\nB. Dark green": A,
        "B then A": B,
        "nothing": NONE,
        "": NONE,
    },
    ("closest", COLOURS): {
        "B": B,
        "b.": B,
        "B. Dark green": B,
        "b. dark green.": B,
        "dark green": B,
        "DARK GREEN": B,
        "(C)": C,
        "C)": C,
        "C: Green": C,
        "dark": B,
        "green": C,
        "gree": C,
        "It is blue": D,
        "blew": D,
        "rde": A,
        "Dark gren": B,
        "red, I believe": A,
        "": NONE,
        " . ": NONE,
    },
    ("letter mark", LINES): {
        "B": B,
        "B.": B,
        "B)": B,
        "B. down": B,
        "A. sideways": A,
        "A) up": A,
        " C ": C,
        "D. none": D,
        "b": NONE,
        "(B)": NONE,
        "down": NONE,
        "B down": NONE,
        "E.": NONE,
        "": NONE,
    },
    ("yes or no", ("yes", "no")): {
        "yes": A,
        "Yes.": A,
        "YES, it does": A,
        "No": B,
        "nope": B,
        "not at all": B,
        "Nothing moves": B,
        " no ": B,
        "It does": NONE,
        "y": NONE,
        "Oh no": NONE,
        "": NONE,
    },
    ("caption", CAPTIONS): {
        "Caption A: A dog runs.": A,
        "Caption A: A dog runs": A,
        "A dog sits.": B,
        "A dog sits": B,
        "Caption B": B,
        "B": B,
        "B.": B,
        "B) A dog": B,
        "Caption A.": A,
        "A: it runs": A,
        "A dog": NONE,
        "b": NONE,
        "Both": NONE,
        "": NONE,
    },
    ("caption", OPTIONS): {
        "Option 1": A,
        "1": A,
        "2.": B,
        "Option 2: down": B,
        "up": A,
        "12": NONE,
        "down the hill": NONE,
    },
    ("first of A-H", COLOURS): {
        "Final Answer: H": 7,
        "The best answer is\nG.": 6,
        "Answer: C": C,
        "i think so": NONE,
        "": NONE,
    },
    ("last of A-E", COLOURS): {
        "The answer is B. Not C": B,
        "option: d": D,
        "Between A and E": E,
        "The best answer is C": C,
        "none": NONE,
    },
    ("first mark", COLOURS): {
        "B": B,
        "b) dark green": B,
        "(B)": B,
        "(C).": C,
        "C.": C,
        "(A), since": A,
        "\nB\nbecause": B,
        "(E)": NONE,
        "Dark green": NONE,
        "": NONE,
    },
    ("first word", COLOURS): {
        "B. Dark green": B,
        "c": C,
        "B": B,
        "(B)": NONE,
        "E": NONE,
        "": NONE,
    },
}
TABLE = [
    (name, choices, text, wanted)
    for (name, choices), cases in CASES.items()
    for text, wanted in cases.items()
]


@pytest.mark.parametrize(("name", "choices", "text", "wanted"), TABLE)
def test_parser(name, choices, text, wanted):
    assert PARSERS[name](text, question(choices)) == wanted


def test_there_are_a_hundred_odd_answers():
    assert len(TABLE) >= 100
    assert {name for name, *_ in TABLE} == set(PARSERS) - {"exact"}


def test_no_parser_fails_on_anything():
    words = ("(", "[A", "\\", "A" * 5000, "\0", "🐕", "{}", "%s", "A\n\nB")
    for name, parse in PARSERS.items():
        choices = CAPTIONS if name == "caption" else COLOURS
        for text in words:
            parse(text, question(choices))


EXACT = {
    COLOURS: {
        "Dark green": B,
        "dark  GREEN.": B,
        "green": C,
        "B": B,
        "b": B,
        "B.": B,
        "(B)": B,
        "B) Dark green": B,
        "b: dark green.": B,
        "B. Green": NONE,
        "A": A,
        "a dark green": NONE,
        "E": NONE,
        "1": NONE,
        "Dark green or blue": NONE,
        "": NONE,
        " . ": NONE,
    },
    # Words come before letters and numbers.
    ("b", "a", "1"): {"b": A, "B": A, "A.": B, "1": C, "c": C, "C. 1": C},
    ("A. Red.", "B. Blue."): {"A. Red": A, "red": A, "B": B, "Blue.": B},
    ("A. b", "B. a"): {"b": A, "a": B, "A.": B},
    ("a (b|", "c"): {"A (b|": A, "B": B, "(": NONE},
}


@pytest.mark.parametrize("choices", EXACT)
def test_exact_with_choices(choices):
    for text, wanted in EXACT[choices].items():
        assert PARSERS["exact"](text, question(choices)) == wanted, text
    same = question(("Yes", "no", "yes."), answer=2)
    assert PARSERS["exact"]("Yes", same) == 2


def test_choices_in_capitals_and_beyond_d():
    asked = question(("Yes", " No"))
    assert PARSERS["yes or no"]("no, it is not", asked) == B
    six = question(tuple("pqrstu"))
    assert PARSERS["letter word"]("It is F.", six) == 5
    assert PARSERS["letter mark"]("F) it is", six) == 5
    assert PARSERS["caption"]("", question(("Red", ""))) is None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Up the hill", True),
        ("up the hill.", True),
        ("UP  the\nhill", True),
        ("uphill", False),
        ("up the hill!", False),
        ("", False),
    ],
)
def test_exact(text, right):
    asked = question((), "up the hill")
    assert (PARSERS["exact"](text, asked) == asked.answer) == right
    assert PARSERS["exact"](" ", asked) is None


def test_edit_distance_by_hand():
    assert edit_distance("", "") == 0
    assert edit_distance("abc", "") == edit_distance("", "abc") == 3
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("flaw", "lawn") == 2
