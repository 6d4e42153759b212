"""What authors of benchmarks report beside the mean of all questions.

Each function takes a list of `Question` and a list of shares, how right the
answers are (0 to 1), and returns a dict of str to float, shares as well. The
first one is what the authors rank models by.
"""

import ast
import collections

import numpy as np

# How many questions, from the first on, must be right, to what the group then
# counts; for each structure of a group of four questions.
_SQUARES = (0, 1 / 16, 4 / 16, 9 / 16, 1)
_CHAINS = {
    "[1, 2, 3, 4]": _SQUARES,
    "[1, [2, 3], 4]": (0, 1 / 12, 4 / 12, 7 / 12, 1),
    "[[1, 2], 3, 4]": (0, 1 / 10, 2 / 10, 5 / 10, 1),
}
LEVELS = ("1", "2", "3")


def video_mme_v2(questions, shares):
    """Video-MME-v2's ratings, which count answers to one video together.

    Four questions about a video are a group. If they are of the same ability
    (`"relevance"`), the square of the share of right answers counts. If they
    build on each other (`"logic"`), answers count up to the first wrong one;
    two questions that their structure puts beside each other may be answered
    in either order. Groups of which not all four questions were asked do not
    count.

    Returns:
        Dict of `"rating"`, `"level 1"` to `"level 3"`, `"relevance"` and
        `"logic"`, as far as there are groups of them.
    """
    groups, ratings = collections.defaultdict(list), {}
    for question, share in zip(questions, shares):
        place = int(question.id.rpartition("-")[2])
        groups[question.video].append((place, question, share >= 1))
    ratings["rating"] = []
    for name in [f"level {level}" for level in LEVELS] + ["relevance", "logic"]:
        ratings[name] = []
    for group in groups.values():
        group.sort(key=lambda item: item[0])
        # A group's level is that of its last question.
        about = group[-1][1].categories
        if len(group) != len(_SQUARES) - 1:
            continue
        rating = _rating(about, [right for _, _, right in group])
        for name in ("rating", f"level {about['level']}", about["group"]):
            ratings.setdefault(name, []).append(rating)
    return {name: float(np.mean(v)) for name, v in ratings.items() if v}


def _rating(about, right):
    """What a group of four answers (list of bool) counts, from 0 to 1."""
    if about["group"] == "relevance":
        return _SQUARES[sum(right)]
    structure = str(ast.literal_eval(about["structure"]))
    if structure not in _CHAINS:
        raise ValueError(
            "The structure of a group must be one of "
            f"{', '.join(_CHAINS)}. Received: {about['structure']!r}. "
            "Download the annotations again."
        )
    reached = right.index(False) if False in right else len(right)
    # Beside each other: the second of a pair stands for the first.
    if structure == "[1, [2, 3], 4]" and reached == 1 and right[2]:
        reached = 2
    if structure == "[[1, 2], 3, 4]" and reached == 0 and right[1]:
        reached = 1
    return _CHAINS[structure][reached]


def vsi_bench(questions, shares):
    """VSI-Bench's mean of eight tasks, and each of them.

    Directions are a task whose easy, medium and hard questions count alike.

    Returns:
        Dict of `"mean of tasks"` and of each task.
    """
    kinds = collections.defaultdict(list)
    for question, share in zip(questions, shares):
        kinds[question.categories["question"]].append(share)
    tasks = collections.defaultdict(list)
    for kind, found in kinds.items():
        tasks[vsi_task(kind)].append(np.mean(found))
    means = {task: float(np.mean(of)) for task, of in sorted(tasks.items())}
    return {"mean of tasks": float(np.mean(list(means.values())))} | means


def vsi_task(kind):
    """The task of a kind of VSI-Bench's questions."""
    is_direction = kind.startswith("object_rel_direction")
    return "object_rel_direction" if is_direction else kind


def relative_accuracy(parsed, question):
    """How close a number (str) is to the right one: VSI-Bench's MRA.

    Returns:
        Share of ten bounds, 50%, 45%, ..., 5%, that the relative error keeps.

    References:
        Yang et al. (2024), Thinking in Space, arXiv:2412.14171, section 3.3.
    """
    right = float(question.answer)
    error = abs(float(parsed) - right) / right
    return float(np.mean(error <= 1 - np.linspace(0.5, 0.95, 10)))
