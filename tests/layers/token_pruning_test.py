import keras
import numpy as np
import pytest

from keras_stts.layers import TokenPruning
from keras_stts.ops import Selection
from keras_stts.ops import select_blocks
from tests.harness import to_numpy

SCORES = np.array([[[0.1, 0.2], [0.9, 0.3], [0.4, 0.8]]], "float32")


def test_example_of_the_docstring():
    selection = TokenPruning(prune_ratio=0.34)(SCORES)
    assert isinstance(selection, Selection)
    assert to_numpy(selection.index).tolist() == [[0, 1, 2, 5]]


def test_it_is_the_operation():
    mask = np.array([[True, True, False]])
    got = TokenPruning(0.25)(SCORES, frame_mask=mask)
    for one, other in zip(got, select_blocks(SCORES, 0.25, mask)):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


@pytest.mark.parametrize("ratio", [-0.5, 1.0])
def test_ratio_outside_its_range(ratio):
    message = rf"must lie in \[0, 1\)\. Received: prune_ratio={ratio}"
    with pytest.raises(ValueError, match=message):
        TokenPruning(ratio)


def test_ratio_too_large_is_found_when_the_layer_is_built():
    message = "prune_ratio=0.9, num_frames=3. Use prune_ratio <= 0.666"
    with pytest.raises(ValueError, match=message):
        TokenPruning(0.9).build((None, 3, 4))
    with pytest.raises(ValueError, match=message):
        TokenPruning(0.9)(keras.Input((3, 4)))


def test_shapes_that_do_not_do():
    with pytest.raises(ValueError, match=r"takes scores.*shape \(3, 2\)"):
        TokenPruning(0.5)(SCORES[0])
    with pytest.raises(ValueError, match=r"must know.*shape \(None, None, 4"):
        TokenPruning(0.5)(keras.Input((None, 4)))
