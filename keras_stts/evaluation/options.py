"""Options that are part of a question's text, or named by letters."""

import re

from keras_stts.evaluation.questions import LETTERS

# The letter of an option at the start of a line, or within one.
_AT_START = re.compile(r"^[ \t]*\(?([A-H])[).:]\s*", re.M)
_ANYWHERE = re.compile(r"(?:^|(?<=\s))\(?([A-H])[).:]\s+", re.M)


def inline_options(text):
    """Tuple of a question without the options in its text, and the options."""
    for pattern in (_AT_START, _ANYWHERE):
        marks = list(pattern.finditer(text))
        starts = [i for i, m in enumerate(marks) if m[1] == LETTERS[0]]
        marks = marks[starts[-1] :] if starts else []
        letters = "".join(mark[1] for mark in marks)
        if len(letters) > 1 and LETTERS.startswith(letters):
            ends = [mark.start() for mark in marks[1:]] + [None]
            choices = [text[m.end() : e] for m, e in zip(marks, ends)]
            question = text[: marks[0].start()].strip()
            return question, [choice.strip() for choice in choices]
    return text.strip(), list("ABCD")


def letter(answer):
    """The index of an option that is named by its letter."""
    if len(answer) != 1 or answer not in LETTERS:
        raise ValueError(f"the answer {answer!r} is no letter of an option")
    return LETTERS.index(answer)
