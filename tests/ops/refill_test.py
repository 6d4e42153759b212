"""Frames that a first-fit-descending packer leaves alone in a row."""

import hypothesis
import numpy as np
from hypothesis import strategies as st

from keras_stts.ops import alone_in_row
from tests.harness import compiled
from tests.harness import to_numpy


def by_hand(counts, capacity):
    """One video's frames, packed one by one."""
    rows = []
    for frame in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        if not counts[frame]:
            continue
        for row in rows:
            if sum(counts[i] for i in row) + counts[frame] <= capacity:
                row.append(frame)
                break
        else:
            rows.append([frame])
    alone = {row[0] for row in rows if len(row) == 1}
    return [i in alone for i in range(len(counts))]


def alone(counts, capacity):
    counts = np.array(counts, "int32")
    run = compiled(lambda x: alone_in_row(x, capacity))
    return to_numpy(run(counts)).tolist()


def test_by_hand():
    counts = [9, 5, 4, 3, 0, 7]
    assert by_hand(counts, 9) == [True, False, False, True, False, True]
    assert alone([counts], 9) == [by_hand(counts, 9)]


@hypothesis.given(
    st.lists(
        st.lists(st.integers(0, 9), min_size=6, max_size=6),
        min_size=2,
        max_size=2,
    )
)
@hypothesis.settings(max_examples=50, deadline=None)
def test_any_counts(counts):
    """Each video by itself; of equal frames the earlier goes first."""
    result = to_numpy(alone_in_row(np.array(counts, "int32"), 9)).tolist()
    assert result == [by_hand(row, 9) for row in counts]
