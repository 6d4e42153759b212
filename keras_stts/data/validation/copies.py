"""Videos that are there twice: equal files, and those that look the same."""

import base64
import collections
import itertools

import numpy as np

# Encoded anew, all of the 8 x 8 greys of a frame change by a little, up to 8 of
# 255; where another thing happens in the same scene, a few change by more.
MOST_DIFFERENT = 8
LEAST_CONTRAST = 10.0
MOST_LONGER = 0.3  # Seconds.
CELL = 32
# Frame and place of the greys by which videos are looked up.
PLACES = tuple(enumerate((18, 45, 27, 36, 21, 42, 28, 35)))


class Looks:
    """Videos that can be found by how they look."""

    def __init__(self):
        self._cells = collections.defaultdict(list)

    def add(self, content, facts):
        look = _look(facts)
        if look is not None:
            first = next(_cells(look))
            self._cells[first].append((content, look, facts["seconds"]))

    def find(self, facts):
        """What was added first of those that look the same, or `None`."""
        look = _look(facts)
        if look is None:
            return None
        for cell in _cells(look):
            for content, other, seconds in self._cells.get(cell, ()):
                if abs(seconds - facts["seconds"]) > MOST_LONGER:
                    continue
                if _is_copy(np.abs(other - look)):
                    return content
        return None


def _is_copy(difference):
    return difference.max() <= min(MOST_DIFFERENT, 4 + 4 * difference.mean())


def _look(facts):
    data = base64.b64decode(facts["look"])
    look = np.frombuffer(data, "uint8").reshape(-1, 64).astype("int16")
    return look if look.std() >= LEAST_CONTRAST else None


def _cells(look):
    """Where a video is kept, then where those may be that look the same."""
    choices = []
    for frame, place in PLACES[: len(look)]:
        grey = int(look[frame, place])
        near = {grey // CELL: None}  # A set that keeps its order.
        for other in (grey - MOST_DIFFERENT, grey + MOST_DIFFERENT):
            near[other // CELL] = None
        choices.append(near)
    return itertools.product(*choices)


def contents(table):
    """Dict of content to (paths, facts), readable videos alone."""
    found = {}
    for number, facts in enumerate(table.facts):
        if "error" not in facts:
            path = str(table.rows[number]["video"])
            paths, _ = found.setdefault(table.content(number), ({}, facts))
            paths[path] = None
    return found


def within(videos):
    """Copies in one table.

    Args:
        videos: Dict of `contents`.

    Returns:
        Tuple of two lists of (path, path): equal files, and those that look
        the same; and the `Looks` of all.
    """
    equal, alike, looks = [], [], Looks()
    for content, (paths, facts) in videos.items():
        first, *others = paths
        equal += [(path, first) for path in others]
        match = looks.find(facts)
        if match is not None:
            alike.append((first, next(iter(videos[match][0]))))
        looks.add(content, facts)
    return equal, alike, looks


def between(videos, others, looks):
    """Copies in two tables, as `within`."""
    equal, alike = [], []
    for content, (paths, facts) in videos.items():
        match = content if content in others else looks.find(facts)
        if match is not None:
            pair = next(iter(paths)), next(iter(others[match][0]))
            (equal if match == content else alike).append(pair)
    return equal, alike


def rows(table):
    """Ids of rows whose video, question and answer were there before."""
    seen, again = set(), []
    for number, row in enumerate(table.rows):
        asked = (table.content(number), row.get("prompt"), row.get("response"))
        if repr(asked) in seen:
            again.append(str(row["id"]))
        seen.add(repr(asked))
    return again
