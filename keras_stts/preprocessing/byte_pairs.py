"""Vocabularies and merge rules of untrusted files."""

from keras_stts.presets.parsing import AGAIN


def check_vocabulary(vocabulary, where):
    """Raise unless a vocabulary has a unique id for each token.

    Args:
        vocabulary: Dict of token to id.
        where: Str, what errors call its file.

    Raises:
        ValueError: If it has not, or a token is empty or not text.
    """
    bad = [(t, i) for t, i in vocabulary.items() if not _is_entry(t, i)]
    seen = {}
    if not bad:
        pairs = vocabulary.items()
        bad = [(t, i) for t, i in pairs if seen.setdefault(i, t) != t]
    if bad:
        raise ValueError(
            "A vocabulary must be of tokens and an id for each, an integer "
            f"that no other has. Received: {bad[0][0]!r:.100} with the id "
            f"{bad[0][1]!r:.100} in {where}. {AGAIN}"
        )


def read_merges(text, vocabulary, where):
    """The rules of a `merges.txt`, each a line, checked as by `check_merges`.

    Args:
        text: Str.
        vocabulary: Dict of token to id.
        where: Str, what errors call the file.
    """
    lines = [line.rstrip("\r") for line in text.rstrip("\n").split("\n")]
    rules = {
        number: line
        for number, line in enumerate(lines, 1)
        if line and not line.startswith("#version")
    }
    _check(rules, vocabulary, "line", f"{len(lines)} in {where}")
    return list(rules.values())


def check_merges(merges, vocabulary, where):
    """Raise unless each rule is of two tokens that make a third.

    Args:
        merges: List of str, or of lists of two str.
        vocabulary: Dict of token to id.
        where: Str, what errors call their file.

    Raises:
        ValueError: If one is not, or is there twice.
    """
    rules = dict(enumerate(merges, 1))
    _check(rules, vocabulary, "rule", f"{len(merges)} in {where}")


def _check(rules, vocabulary, kind, rest):
    seen = set()
    for number, rule in rules.items():
        parts = rule.split(" ") if isinstance(rule, str) else rule
        good = isinstance(parts, list) and len(parts) == 2
        good = good and all(isinstance(part, str) for part in parts)
        good = good and {*parts, "".join(parts)} <= vocabulary.keys()
        if not good or tuple(parts) in seen:
            raise ValueError(
                "A merge rule must be two tokens of the vocabulary that make "
                f"a third, and be there once. Received: {rule!r:.100}, {kind} "
                f"{number} of {rest}. {AGAIN}"
            )
        seen.add(tuple(parts))


def _is_entry(token, index):
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return token != "" and type(index) is int and 0 <= index < 2**31
