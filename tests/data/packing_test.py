"""Rows for short samples."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_stts.data import packing
from keras_stts.data import plan_rows
from tests.harness import few_examples


def test_by_hand():
    assert plan_rows([5, 2, 3], 8, 4) == [[0, 2], [1]]
    assert plan_rows([5, 2, 3], 8, 1) == [[0], [1], [2]]
    assert plan_rows([4, 4, 4, 4], 8, 4) == [[0, 1], [2, 3]]
    # The second and third would fit but for their words.
    assert plan_rows([1, 1, 1], 8, 4, [10, 90, 90], 100) == [[0, 1], [2]]
    assert plan_rows([0, 0], 0, 2) == [[0, 1]]
    assert plan_rows([], 8, 2) == []


@few_examples
@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 20)), max_size=30),
    st.integers(1, 5),
)
def test_laws(samples, most):
    frames = [f for f, _ in samples]
    tokens = [t for _, t in samples]
    rows = plan_rows(frames, 8, most, tokens, 20)
    assert rows == plan_rows(np.array(frames, int), 8, most, tokens, 20)
    assert sorted(i for row in rows for i in row) == list(range(len(samples)))
    for row in rows:
        assert len(row) <= most
        assert sum(frames[i] for i in row) <= 8
        assert sum(tokens[i] for i in row) <= 20
    # No two rows could be one.
    for one, other in zip(rows, rows[1:]):
        both = one + other
        assert (
            len(both) > most
            or sum(frames[i] for i in both) > 8
            or sum(tokens[i] for i in both) > 20
        )


def test_many_samples_are_planned_in_parts(monkeypatch):
    sizes = np.random.default_rng(0).integers(1, 9, 200)
    at_once = len(plan_rows(sizes, 16, 8))
    monkeypatch.setattr(packing, "MOST_AT_ONCE", 50)
    rows = plan_rows(sizes, 16, 8)
    assert sorted(i for row in rows for i in row) == list(range(200))
    assert at_once <= len(rows) <= at_once + 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([9], 8, 2),
            r"an empty row; none is cut. Received: sample 0",
        ),
        (([1, 2], 8, 2, [5, 9], 8), r"sample 1 of \[2, 9\] \(frames, tokens\)"),
        (([1], 8, 0), "max_segments=0"),
        (([1], 8, 2, [5]), "`max_tokens` come together"),
        (([1], 8, 2, [5, 5], 9), "a number for each sample"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_rows(*arguments)
