"""A few static shapes for samples of any size."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_stts.preprocessing.buckets import choose_buckets
from keras_stts.preprocessing.buckets import find_bucket
from keras_stts.preprocessing.qwen3_vl import patches
from keras_stts.preprocessing.qwen3_vl import sampling
from keras_stts.preprocessing.qwen3_vl import sizes
from tests.harness import few_examples

pytestmark = pytest.mark.once


def padded_share(shapes, buckets):
    """Of what is computed, the share that is padding."""
    volumes = np.prod(buckets, axis=1)
    spent = sum(volumes[find_bucket(shape, buckets)] for shape in shapes)
    return 1 - np.prod(shapes, axis=1).sum() / spent


def test_by_hand():
    shapes = [(1, 60), (1, 64), (8, 30), (8, 30)]
    assert choose_buckets(shapes, 1).tolist() == [[8, 64]]
    assert choose_buckets(shapes, 2).tolist() == [[1, 64], [8, 30]]
    assert choose_buckets(shapes, 9).tolist() == [[1, 60], [1, 64], [8, 30]]
    made = choose_buckets(shapes, 2, multiples=(2, 16))
    assert made.tolist() == [[2, 64], [8, 32]]
    assert find_bucket((1, 64), [[8, 64], [1, 64], [9, 64]]) == 1


@few_examples
@hypothesis.given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 99), st.integers(1, 20)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 6),
)
def test_laws(shapes, most):
    buckets = choose_buckets(shapes, most)
    assert 1 <= len(buckets) <= most
    assert len(np.unique(buckets, axis=0)) == len(buckets)
    for shape in shapes:
        assert (buckets[find_bucket(shape, buckets)] >= shape).all()
    assert buckets.max(axis=0).tolist() == np.max(shapes, axis=0).tolist()
    # The order of the samples does not matter.
    assert (choose_buckets(shapes[::-1], most) == buckets).all()


def mixed_data():
    """Temporal patches, and patches of a frame, of images and videos."""
    rng = np.random.default_rng(0)
    limits = {"min_pixels": 65536, "max_pixels": 1048576}
    shapes = []
    for _ in range(700):
        height, width = rng.integers(100, 2000, 2).tolist()
        size = sizes.image_size(height, width, **limits)
        shapes.append(patches.grid_of(1, *size))
    limits["max_pixels"] *= 8
    for _ in range(700):
        height, width = rng.choice([240, 360, 480, 720, 1080], 2).tolist()
        fps = float(rng.choice([24.0, 25.0, 30.0]))
        count = len(sampling.frame_indices(int(rng.integers(50, 3000)), fps))
        size = sizes.video_size(count, height, width, **limits)
        shapes.append(patches.grid_of(count, *size))
    return [(t, h * w) for t, h, w in shapes]


@pytest.mark.parametrize(
    ("layout", "most"),
    [("frames", {1: 0.99, 4: 0.67, 8: 0.4, 16: 0.25}), ("line", {8: 0.1})],
)
def test_mixed_data_costs_few_compilations(layout, most):
    shapes = mixed_data()
    assert len(set(shapes)) > 256
    if layout == "line":  # All patches of a sample one after another.
        shapes = [(t * n,) for t, n in shapes]
    for count, share in most.items():
        buckets = choose_buckets(shapes, count)
        assert len(buckets) == count
        assert padded_share(shapes, buckets) < share


def test_refused():
    with pytest.raises(ValueError, match=r"positive ints.*shape \(0,\)"):
        choose_buckets([], 4)
    with pytest.raises(ValueError, match="from 0 on"):
        choose_buckets([(0, 3)], 4)
    with pytest.raises(ValueError, match="`max_buckets` must be positive"):
        choose_buckets([(1, 3)], 0)
    with pytest.raises(ValueError, match=r"shape=\(9, 2\), buckets=\[\[8, 64"):
        find_bucket((9, 2), [(8, 64)])
