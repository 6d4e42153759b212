import numpy as np
import pytest
from keras import ops as K

from keras_stts import ops
from keras_stts.layers import RaggedPacking
from keras_stts.layers import TokenPruning
from tests.harness import compiled
from tests.harness import softmax_attention
from tests.harness import to_numpy

B, T, P = 2, 3, 4
# Grid and window; the blocks of the second are padded.
CASES = [((4, 4), 2), ((4, 5), 3)]
FRAME_MASK = np.array([[True] * 3, [True, True, False]])


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def select(frame_mask=FRAME_MASK):
    scores = np.random.default_rng(1).uniform(size=(B, T, P))
    return TokenPruning(0.5)(scores.astype("float32"), frame_mask=frame_mask)


def spread(kept, window, grid):
    """Blocks (B, T, 2 * 2) to patches (B, T, N), padding cut off."""
    kept = kept.reshape(B, T, 2, 2)
    kept = kept.repeat(window, axis=2).repeat(window, axis=3)
    top, left = ((2 * window - length) // 2 for length in grid)
    kept = kept[:, :, top : top + grid[0], left : left + grid[1]]
    return kept.reshape(B, T, -1)


def test_by_hand():
    """Frame 0 and the second block of frame 1 stay; blocks are 1x2."""
    x = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)
    selection = TokenPruning(0.25)(np.array([[[0, 0], [0.1, 0.9]]]))
    packed = RaggedPacking(window=2, grid=(1, 4))(x, selection)
    # A grid one patch high in blocks of two: each has a row of padding.
    assert to_numpy(packed)[0, :, 0].tolist() == [
        *(0, 1, 0, 0),
        *(2, 3, 0, 0),
        *(6, 7, 0, 0),
    ]


@pytest.mark.parametrize("grid, window", CASES)
def test_unpack_puts_back(grid, window):
    x = normal(B, T, grid[0] * grid[1], 5)
    selection = select()
    layer = RaggedPacking(window, grid)
    back = to_numpy(layer.unpack(layer(x, selection), selection))
    kept = spread(to_numpy(selection.kept), window, grid)
    np.testing.assert_array_equal(back, x * kept[..., None])


@pytest.mark.parametrize("grid, window", CASES)
def test_attention_is_within_the_kept_of_each_frame(grid, window):
    x = normal(B, T, grid[0] * grid[1], 6)
    selection = select(None)
    layer = RaggedPacking(window, grid)
    layer.build(x.shape)

    def run(x, selection):
        selection = ops.Selection(*selection)
        packed = K.reshape(layer(x, selection), (B, -1, 2, 3))
        layout = layer.layout(selection)
        out = layer.attention(packed, 2 * packed, 3 * packed, layout)
        return layer.unpack(K.reshape(out, (B, -1, 6)), selection)

    got = compiled(run)(x, tuple(to_numpy(selection)))
    kept = spread(to_numpy(selection.kept), window, grid)
    for b in range(B):
        for t in range(T):
            rows = x[b, t, kept[b, t]].reshape(1, -1, 2, 3)
            if rows.size:
                wanted = softmax_attention(rows, 2 * rows, 3 * rows)
                np.testing.assert_allclose(
                    got[b, t, kept[b, t]], wanted.reshape(-1, 6), atol=1e-5
                )


def test_selection_of_other_blocks():
    message = (
        "a selection of 3 frames of 4 blocks, and patches of 3 frames of 9. "
        "Check `window` and `grid`"
    )
    with pytest.raises(ValueError, match=message):
        RaggedPacking(window=2)(normal(B, T, 36, 5), select())
    with pytest.raises(ValueError, match="patches of 2 frames of 4"):
        RaggedPacking(window=2)(normal(B, 2, 16, 5), select())


def test_arguments():
    with pytest.raises(ValueError, match="Received: window=0"):
        RaggedPacking(window=0)
    with pytest.raises(ValueError, match=r"12 patches and grid=\(3, 5\)"):
        RaggedPacking(grid=(3, 5))(normal(B, T, 12, 5), select())
    with pytest.raises(ValueError, match=r"takes patches.*\(3, 16, 5\)"):
        RaggedPacking()(normal(T, 16, 5), select())
