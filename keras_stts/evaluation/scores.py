"""From scored answers to accuracies with intervals."""

import collections
import math
import random

from keras_stts.evaluation.parsers import exact

# Two-sided 95% of a normal distribution.
Z = 1.959963984540054


def interval(right, groups=None):
    """Wilson's 95% interval of an accuracy, for questions that share videos.

    Answers to questions about one video are correlated, so these questions
    count for less than independent ones. The number of questions in Wilson's
    interval is replaced by an effective number: the number of questions times
    the variance for independent questions over the variance estimated between
    videos, and at most the number of questions. If all answers are right, or
    all wrong, the effective number is that of the videos.

    Args:
        right: List of bool, or of shares from 0 to 1.
        groups: Optional list, the video of each question. By default each
            question has a video of its own.

    Returns:
        List of the lower and the upper bound, as shares; `None` without
        questions.

    Example:

    >>> low, high = interval([True] * 8 + [False] * 2)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)

    References:
        Wilson (1927), JASA 22. Franco, Little, Louis and Slud (2019), JSSAM
        7(3), on the effective sample size.
    """
    if not right:
        return None
    mean = sum(right) / len(right)
    count = _independent(right, groups or range(len(right)), mean)
    middle = mean + Z**2 / (2 * count)
    half = Z * math.sqrt(mean * (1 - mean) / count + (Z / (2 * count)) ** 2)
    scale = 1 + Z**2 / count
    low, high = (middle - half) / scale, (middle + half) / scale
    return [max(0.0, low), min(1.0, high)]


def _independent(right, groups, mean):
    """The effective number of independent questions."""
    residuals = collections.defaultdict(float)
    for answer, group in zip(right, groups):
        residuals[group] += answer - mean
    videos, count = len(residuals), len(right)
    if videos == 1 or mean in (0, 1):
        return videos
    squares = sum(value**2 for value in residuals.values())
    variance = videos / (videos - 1) * squares / count**2
    if not variance:
        return count
    alone = mean * (1 - mean) / (count - 1)
    return min(count, count * alone / variance)


def mark(question, text, rule="wrong", *, seed=0):
    """Score an answer.

    Args:
        question: `Question`.
        text: Str, the model's text.
        rule: Str, what to do with an answer that cannot be parsed, see
            `Benchmark.unparsed`.
        seed: Int. Guesses depend on it and on the question's id.

    Returns:
        Dict of `"parsed"`, `"right"` (bool; a share from 0 to 1 if the question
        has a `credit`; `None` if it does not count) and `"unparsed"` (bool).
    """
    parsed = _as_answer(question.parse(text, question), question)
    unparsed = parsed is None
    if unparsed and rule == "random" and question.choices:
        guess = random.Random(f"{seed}:{question.id}")
        parsed = guess.randrange(len(question.choices))
    right = None
    if not (unparsed and rule == "dropped"):
        right = _right(parsed, question)
    return {"parsed": parsed, "right": right, "unparsed": unparsed}


def _right(parsed, question):
    if question.credit is None or parsed is None:
        return parsed == question.answer
    return float(question.credit(parsed, question))


def _as_answer(parsed, question):
    """The result of a parser in the form of `Question.answer`.

    Users' parsers may also return letters or texts of choices, or numbers
    where there are no choices.
    """
    if not isinstance(parsed, str):
        if parsed is None:
            return None
        return int(parsed) if question.choices else str(parsed)
    if not question.choices:
        return parsed
    return exact(parsed, question)


def score(questions, marks):
    """Accuracy of scored questions.

    Returns:
        Dict of `"accuracy"`, `"interval"` (low, high), `"n"`, `"unparsed"`
        (their share) and `"categories"`: for each kind of category a dict of
        category to accuracy, interval and n.
    """
    pairs = list(zip(questions, marks))
    kinds = collections.defaultdict(lambda: collections.defaultdict(list))
    for question, item in pairs:
        for kind, names in question.categories.items():
            names = [names] if isinstance(names, str) else names
            for name in names:
                kinds[kind][name].append((question, item))
    unparsed = sum(item["unparsed"] for item in marks)
    return {
        **_accuracy(pairs),
        "unparsed": unparsed / len(marks) if marks else 0.0,
        "categories": {
            kind: {name: _accuracy(part) for name, part in sorted(of.items())}
            for kind, of in kinds.items()
        },
    }


def _accuracy(pairs):
    pairs = [(q, item) for q, item in pairs if item["right"] is not None]
    right = [item["right"] for _, item in pairs]
    return {
        "accuracy": sum(right) / len(right) if right else None,
        "interval": interval(right, [q.video for q, _ in pairs]),
        "n": len(right),
    }
