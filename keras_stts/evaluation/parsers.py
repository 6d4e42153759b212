"""Parsers: from the text of an answer to the choice that it means.

A parser is a function of the text (str) and a `Question`. It returns the number
of a choice (a number that the question does not have counts as wrong), a str
if there are no choices, or `None` if it cannot parse the text. White space
around the text is ignored. Each parser does exactly what the code behind a
benchmark's published figures does.
"""

import re
import string

LETTERS = string.ascii_uppercase
PUNCTUATION = ",.!?;:'"
# What comes before the letter, as VideoMME's code removes it.
PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
# The same for Video-MME-v2's and MINERVA's.
PREFIXES_H = ("Final Answer:", *PREFIXES, "Answer:", "Option:")
PREFIXES_E = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "Answer:",
    "Option:",
    "Therefore, the final answer is:",
)


def exact(text, question):
    """The answer, apart from capitals, spaces and a full stop.

    With choices it is the whole text of one, or its letter as "B", "(b)" or
    "B)", or both: "B. Dark green". Texts are tried before letters.
    """
    if not question.choices:
        same = _plain(text) == _plain(question.answer)
        return question.answer if same else text.strip() or None
    found = named(text, question.choices)
    if question.answer in found:  # Two choices of the same words are one.
        return question.answer
    return min(found, default=None)


def named(text, choices):
    """The choices (list of int) that words name as `exact` says."""
    said = _plain(text)
    forms = list(zip(LETTERS.lower(), map(_plain, choices)))
    # Choices may be written with their letters: "B. Dark green".
    bare = [re.sub(rf"^\(?{x}[).:]+ ", "", words) for x, words in forms]
    tests = (
        lambda i, x, words: said == words,
        lambda i, x, words: said == bare[i],
        lambda i, x, words: re.fullmatch(
            rf"\(?{x}[).:]*( {re.escape(bare[i])})?", said
        ),
    )
    for test in tests if said else ():
        found = [i for i, form in enumerate(forms) if test(i, *form)]
        if found:
            return found
    return []


def _plain(text):
    return " ".join(str(text).lower().split()).rstrip(".").rstrip()


def letter_start(text, question):
    """The first character in either case: "b) the dog" is B, "apple" A."""
    return _choice(text.strip()[:1].upper(), question)


def capital_start(text, question):
    """The first character, if it is a capital letter."""
    return _choice(text.strip()[:1], question)


def letter_word(text, question):
    """The first of A to D (or the last choice) that is a word by itself."""
    found = re.search(rf"\b([{_known(question)}])\b", text)
    return LETTERS.index(found[1]) if found else None


def first_letter_d(text, question):
    """The first of A to D, after "The answer is" and the like."""
    return _first(_without(PREFIXES, text), "ABCD")


def first_letter_e(text, question):
    """The first of A to E."""
    return _first(text, "ABCDE")


def _first(text, letters):
    found = re.search(f"[{letters}]", text)
    return LETTERS.index(found[0]) if found else None


def first_letter_h(text, question):
    """The first of A to H, after "Final Answer:" and the like."""
    return _first(_without(PREFIXES_H, text), "ABCDEFGH")


def last_letter_e(text, question):
    """The last "answer: B" or "option is B"; else the last of A to E."""
    said = re.findall(r"(?:answer|option)\s*(?:is|:)\s*([A-E])", text, re.I)
    found = said or re.findall("[A-E]", _without(PREFIXES_E, text))
    return LETTERS.index(found[-1].upper()) if found else None


def _without(prefixes, text):
    for prefix in prefixes:
        text = text.replace(prefix, "")
    return text


def first_word(text, question):
    """The first word if it is a letter, in either case, without a full stop."""
    words = text.strip().split(" ")
    letter = words[0].rstrip(".").strip().upper()
    return _choice(letter if len(letter) == 1 else "", question)


def first_mark(text, question):
    """The first word, if it is "(B)", "B)" or "B", or has "(B)" within.

    An empty answer is none of them; TVBench's authors count it as right.
    """
    word = text.strip().partition("\n")[0].partition(" ")[0].lower()
    word = "(" + word.removeprefix("(").replace(".", "")
    for i in range(len(question.choices)):
        mark = f"({LETTERS[i].lower()})"
        if mark in word or (len(word) > 1 and mark.startswith(word)):
            return i
    return None


def number(text, question):
    """The first word, without a full stop, if it is a number."""
    word = text.strip().split(" ")[0].rstrip(".").strip()
    try:
        float(word)
    except ValueError:
        return None
    return word


def marked_last(text, question):
    """The last of "(B)"; else of " B "; else of "B."."""
    return _marked(text, question, max, str.rfind)


def marked_first(text, question):
    """The first of "(B)"; else of " B "; else of "B."."""
    return _marked(text, question, min, str.find)


def _marked(text, question, choose, find):
    text = f" {text.strip().strip(PUNCTUATION)} "
    for form in ("({})", " {} ", "{}."):
        places = {}
        for i in range(len(question.choices)):
            place = find(text, form.format(LETTERS[i]))
            if place >= 0:
                places[i] = place
        if places:
            return choose(places, key=places.get)
    return None


def closest(text, question):
    """The closest choice.

    It is the only choice that equals the text; else the only one of which one
    begins with the other; else the only one of which one contains the other;
    else the one with the smallest edit distance, which always exists.
    """
    text = text.strip().lower().rstrip(".")
    if not text or not question.choices:
        return None
    forms = [
        {letter, choice, f"{letter}. {choice}"}
        for letter, choice in zip(
            LETTERS.lower(), (c.strip().lower() for c in question.choices)
        )
    ]
    tests = (
        lambda form: text == form.rstrip("."),
        lambda form: form.startswith(text) or _begins(text, form),
        lambda form: text in form or (len(form) > 1 and form in text),
    )
    for test in tests:
        found = [i for i, group in enumerate(forms) if any(map(test, group))]
        if len(found) == 1:
            return found[0]
    distances = [min(edit_distance(text, f) for f in g) for g in forms]
    return distances.index(min(distances))


def _begins(text, form):
    """Whether words begin with a letter and its mark, or with a choice."""
    if len(form) == 1:
        return re.match(rf"\(?{re.escape(form)}[.):,]", text) is not None
    return text.startswith(form)


def edit_distance(one, other):
    """Fewest insertions, deletions and substitutions between two strs."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            step = min(row[j] + 1, row[j - 1] + 1, above + (a != b))
            above, row[j] = row[j], step
    return row[-1]


def letter_mark(text, question):
    """The whole option, its letter, or a beginning such as "B." or "B)"."""
    text = text.strip()
    for i, choice in enumerate(question.choices):
        letter = LETTERS[i]
        if text in (choice, f"{letter}. {choice}", letter):
            return i
    found = re.match(rf"([{_known(question)}])[.)]", text)
    return LETTERS.index(found[1]) if found else None


def yes_no(text, question):
    """The "yes" or "no", in either case, that the text begins with."""
    text = text.strip().lower()
    for i, choice in enumerate(question.choices):
        if text.startswith(choice.strip().lower()):
            return i
    return None


def caption(text, question):
    """The option of a caption question: all of it, its mark or its words.

    Choices are as TempCompass writes them, "Caption A: ..." or "Option 1:
    ..."; "Caption A", "A", "A." and "A)..." mean the first one.
    """
    text = text.strip()
    if not text:
        return None
    for i, choice in enumerate(question.choices):
        label, _, words = choice.partition(": ")
        mark = label.split()[-1] if label.strip() else label
        whole = {choice.rstrip("."), words.rstrip(".")} - {""}
        if text.rstrip(".") in whole:
            return i
        if re.match(rf"({re.escape(label)}|{re.escape(mark)})([.):]|$)", text):
            return i
    return None


def _known(question):
    """A to D as published, whose questions have no more; or more."""
    return LETTERS[: max(4, len(question.choices))]


def _choice(letter, question):
    known = LETTERS[: len(question.choices)]
    return known.index(letter) if letter and letter in known else None


PARSERS = {
    "capital": capital_start,
    "caption": caption,
    "closest": closest,
    "exact": exact,
    "first of A-D": first_letter_d,
    "first of A-E": first_letter_e,
    "first of A-H": first_letter_h,
    "first mark": first_mark,
    "first word": first_word,
    "last of A-E": last_letter_e,
    "letter": letter_start,
    "letter mark": letter_mark,
    "letter word": letter_word,
    "marked first": marked_first,
    "marked last": marked_last,
    "yes or no": yes_no,
}
