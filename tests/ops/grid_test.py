import numpy as np
import pytest

from keras_stts import ops
from tests.harness import to_numpy

# Grids of patches and windows; only the first two divide evenly.
GRIDS = [((4, 4), 2), ((3, 6), 3), ((3, 5), 1), ((4, 5), 3), ((5, 7), 3)]


def numbered(grid, num_frames=1):
    """Patches numbered from 1 in row order, (1, T, N, 1)."""
    count = num_frames * grid[0] * grid[1]
    values = np.arange(1, count + 1, dtype="float32")
    return values.reshape(1, num_frames, -1, 1)


def test_blocks_by_hand():
    blocks = to_numpy(ops.to_blocks(numbered((4, 4)), window=2))
    assert blocks.shape == (1, 1, 4, 4, 1)
    assert blocks[0, 0, :, :, 0].tolist() == [
        [1, 2, 5, 6],
        [3, 4, 7, 8],
        [9, 10, 13, 14],
        [11, 12, 15, 16],
    ]


def test_window_of_one_gives_a_block_a_patch():
    blocks = to_numpy(ops.to_blocks(numbered((2, 3)), 1, grid=(2, 3)))
    assert blocks[0, 0, :, :, 0].tolist() == [[1], [2], [3], [4], [5], [6]]


def test_padding_is_centred_and_the_odd_one_comes_after():
    # 3 rows: one pad below. 4 columns in blocks of 3: one pad on each side.
    blocks = to_numpy(ops.to_blocks(numbered((2, 4)), 3, grid=(2, 4)))
    assert blocks[0, 0, :, :, 0].tolist() == [
        [0, 1, 2, 0, 5, 6, 0, 0, 0],
        [3, 4, 0, 7, 8, 0, 0, 0, 0],
    ]
    assert ops.block_mask((2, 4), 3).astype(int).tolist() == [
        [0, 1, 1, 0, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("grid, window", GRIDS)
def test_block_mask_tells_the_padding(grid, window):
    blocks = to_numpy(ops.to_blocks(numbered(grid), window, grid))
    mask = ops.block_mask(grid, window)
    rows, columns = ops.block_grid(grid, window)
    assert mask.shape == (rows * columns, window**2)
    np.testing.assert_array_equal(mask, blocks[0, 0, :, :, 0] > 0)
    assert mask.sum() == grid[0] * grid[1]
    assert mask.any(axis=1).all(), "a block without a patch"


@pytest.mark.parametrize("grid, window", GRIDS)
def test_round_trip(grid, window):
    x = numbered(grid, num_frames=3)
    blocks = ops.to_blocks(x, window, grid)
    back = to_numpy(ops.from_blocks(blocks, window, grid))
    flat = to_numpy(blocks).reshape(*blocks.shape[:3], -1)
    np.testing.assert_array_equal(to_numpy(ops.flat_blocks(blocks)), flat)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("grid, window", GRIDS)
def test_spread_gives_each_patch_the_value_of_its_block(grid, window):
    rows, columns = ops.block_grid(grid, window)
    values = np.arange(1.0, 1 + 2 * rows * columns, dtype="float32")
    values = values.reshape(1, 2, -1)
    spread = ops.spread_to_patches(values, window, grid)
    blocks = to_numpy(ops.to_blocks(spread[..., None], window, grid))[..., 0]
    wanted = values[..., None] * ops.block_mask(grid, window)
    np.testing.assert_array_equal(blocks, wanted)


def test_spread_by_hand():
    spread = to_numpy(
        ops.spread_to_patches(np.array([[[1.0, 2, 3, 4]]]), 2, (4, 3))
    )
    assert spread.reshape(4, 3).tolist() == [
        [1, 1, 2],
        [1, 1, 2],
        [3, 3, 4],
        [3, 3, 4],
    ]


def test_grid_size():
    assert ops.grid_size(16) == (4, 4)
    assert ops.grid_size(12, (3, 4)) == (3, 4)


@pytest.mark.parametrize("grid, shown", [(None, "3, 3"), ((5, 2), "5, 2")])
def test_grid_that_does_not_fit(grid, shown):
    message = rf"must fill a grid.*12 patches and grid=\({shown}\)"
    with pytest.raises(ValueError, match=message):
        ops.to_blocks(np.zeros((1, 1, 12, 1)), 2, grid)


@pytest.mark.parametrize("window", [0, -2])
def test_window_below_one(window):
    message = rf"`window`.*at least 1\. Received: window={window}"
    with pytest.raises(ValueError, match=message):
        ops.block_mask((4, 4), window)
    with pytest.raises(ValueError, match=message):
        ops.to_blocks(np.zeros((1, 1, 16, 1)), window)
