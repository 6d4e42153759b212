"""Which rows make which batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_stts.data.order import plan_epoch

pytestmark = pytest.mark.once


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0, 2, 4, 8]), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_row_once_and_shards_of_one_shape(buckets, size, count, shuffle):
    buckets = np.array(buckets)

    def plan(index):
        rng = np.random.default_rng(0) if shuffle else None
        return plan_epoch(buckets, size, (index, count), rng)

    shards = [plan(index) for index in range(count)]
    seen = []
    for batches in zip(*shards, strict=True):
        assert len({batch.bucket for batch in batches}) == 1
        for rows, num_frames in batches:
            assert len(rows) == size
            real = rows[rows >= 0]
            assert (buckets[real] == num_frames).all()
            seen += real.tolist()
    assert sorted(seen) == np.flatnonzero(buckets).tolist()
    fewest = sum(-(-n // (size * count)) for n in _counts(buckets))
    assert len(shards[0]) == fewest


def _counts(buckets):
    return np.unique(buckets[buckets > 0], return_counts=True)[1]


def test_without_shuffling_rows_keep_their_order():
    batches = plan_epoch(np.array([4, 2, 4, 2, 4]), 2)
    assert [batch.rows.tolist() for batch in batches] == [
        [0, 2],
        [1, 3],
        [4, -1],
    ]
    assert [batch.bucket for batch in batches] == [4, 2, 4]
