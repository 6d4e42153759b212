"""Merging beside figures of ToMe's published code."""

import pathlib

import keras
import numpy as np
import pytest
from keras import ops as K

from keras_stts import ops
from tests.harness import compiled
from tests.harness import gradient

GOLDEN = dict(np.load(pathlib.Path(__file__).parent / "golden" / "tome.npz"))
COUNTS = GOLDEN["counts"].tolist()


def merge_all(x, *metrics):
    merged, steps = ops.unmerged(x), []
    for count, metric in zip(COUNTS, metrics):
        x, merged = ops.merge_tokens(x, merged, metric, count)
        steps.append((x, merged.size, merged.place))
    return steps


def test_tokens_sizes_and_sources_are_those_of_the_published_code():
    x = GOLDEN["x"]
    metrics = [GOLDEN[f"metric_{i}"] for i in range(len(COUNTS))]
    steps = compiled(merge_all)(x, *metrics)
    for i, found in enumerate(steps):
        for name, values in zip(("x", "size", "place"), found):
            wanted = GOLDEN[f"{name}_{i}"]
            np.testing.assert_allclose(values, wanted, atol=1e-6)
    assert GOLDEN["size_2"].max() > 2  # Of merged tokens some merged again.


def test_a_token_is_the_mean_of_its_patches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 9, 3)).astype("float32")
    metric = rng.normal(size=(1, 9, 2)).astype("float32")
    run = compiled(lambda x, m: ops.merge_tokens(x, ops.unmerged(x), m, 3))
    tokens, merged = run(x, metric)
    (place,), (size,) = merged.place, merged.size
    assert tokens.shape == (1, 6, 3) and size.sum() == 9
    for token in range(6):
        inside = place == token
        assert inside.sum() == size[token]
        np.testing.assert_allclose(
            tokens[0, token], x[0, inside].mean(0), atol=1e-6
        )


def test_low_precision():
    def merge(x, metric):
        x, metric = (K.cast(a, "bfloat16") for a in (x, metric))
        x, merged = ops.merge_tokens(x, ops.unmerged(x), metric, 3)
        assert keras.backend.standardize_dtype(x.dtype) == "bfloat16"
        return K.cast(x, "float32"), merged

    x, merged = compiled(merge)(GOLDEN["x"], GOLDEN["metric_0"])
    assert merged.size.dtype == "float32"
    np.testing.assert_allclose(x, GOLDEN["x_0"], atol=0.02)


def test_slopes_reach_the_tokens_alone():
    x, metric = GOLDEN["x"], GOLDEN["metric_0"]

    def total(x, metric):
        tokens, _ = ops.merge_tokens(x, ops.unmerged(x), metric, 3)
        # Torch wants all inputs in the graph.
        return K.sum(tokens**2) + 0.0 * K.sum(metric)

    assert (gradient(total)(x, metric) != 0).all()
    slopes = gradient(lambda metric, x: total(x, metric))(metric, x)
    assert not slopes.any()


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((16, 4, 0.5), [2, 2, 2, 2]),
        ((16, 4, 0.3), [1, 1, 1, 1]),
        ((729, 25, 0.5), None),
        ((100, 3, 0.29), [9, 10, 10]),
        ((16, 4, 0.0), [0, 0, 0, 0]),
    ],
)
def test_schedule(sizes, wanted):
    counts = ops.merge_schedule(*sizes)
    assert sum(counts) == int(sizes[0] * sizes[2] + 1e-6)
    assert max(counts) - min(counts) <= 1
    assert wanted is None or counts == wanted


def test_no_more_than_half_of_the_tokens_merge_at_once():
    with pytest.raises(ValueError, match="at most half .* merge 6 of 10. L"):
        ops.merge_schedule(16, 2, 0.75)
