import keras

from keras_stts.ops import RESCALE_MIN
from keras_stts.ops import block_grid
from keras_stts.ops import score_bias
from keras_stts.ops.grid import check_window
from keras_stts.ops.scoring import check_rescale


@keras.saving.register_keras_serializable(package="keras_stts")
class ScoreBias(keras.layers.Layer):
    """Turns scores into a bias for the attention of the next layer.

    The bias is added to the attention logits: one value for each key, the same
    for all heads and queries. Low-scoring patches are attended to less, and
    the gradient of any later loss reaches the scorer. Use it in training and
    in inference.

    Args:
        window: Int. Side of a block in patches. Defaults to `3`.
        grid: Optional (rows, columns) of a frame's patches. Defaults to a
            square whose side `window` divides.
        rescale_axis: `"row"` (of blocks) or `"frame"`: the scores of each are
            min-max rescaled. Defaults to `"row"`, as in the published code.
        rescale_min: Float in (0, 1]. What the lowest score becomes. Defaults
            to `exp(-2)`.

    Call arguments:
        inputs: Tensor (B, T, P) of scores.
        segments: Optional int tensor (B, T): the number of each frame's
            video in rows that several videos share, see
            `keras_stts.ops.select_blocks`.

    Returns:
        Float32 tensor (B, T, N) in [log(rescale_min), 0]; 0 in frame 0.

    Raises:
        ValueError: If `rescale_axis` or `rescale_min` is not one of these
            values, or if `grid` and `window` do not fit the scores.

    Example:
    ```python
    scores = np.random.rand(1, 4, 9)
    bias = keras_stts.layers.ScoreBias(window=3)(scores)
    bias.shape  # (1, 4, 81)
    ```

    Reference:
        STTS (arXiv 2603.18004), score-biased attention.
    """

    def __init__(
        self,
        window=3,
        grid=None,
        rescale_axis="row",
        rescale_min=RESCALE_MIN,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        check_window(window)
        check_rescale(rescale_axis, rescale_min)
        self.window = window
        self.grid = None if grid is None else tuple(grid)
        self.rescale_axis = rescale_axis
        self.rescale_min = rescale_min

    def build(self, input_shape, *args, **kwargs):
        if len(input_shape) != 3:
            raise ValueError(
                "`ScoreBias` takes scores of shape (videos, frames, blocks). "
                f"Received: shape {tuple(input_shape)}."
            )
        self._grid(input_shape[-1])
        self.built = True

    def _grid(self, num_blocks):
        if self.grid is None:
            side = int(round(num_blocks**0.5)) * self.window
            grid = (side, side)
        else:
            grid = self.grid
        rows, columns = block_grid(grid, self.window)
        if rows * columns != num_blocks:
            raise ValueError(
                "`grid` and `window` must make as many blocks as a frame has "
                f"scores. Received: {num_blocks} scores per frame, "
                f"window={self.window}, grid={self.grid}."
            )
        return grid

    def call(self, inputs, segments=None):
        return score_bias(
            inputs,
            self.window,
            self._grid(inputs.shape[-1]),
            self.rescale_axis,
            self.rescale_min,
            segments=segments,
        )

    def compute_output_spec(self, inputs, segments=None):
        rows, columns = self._grid(inputs.shape[-1])
        shape = (*inputs.shape[:2], rows * columns)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.pop("autocast", None)
        config.update(
            {
                "window": self.window,
                "grid": self.grid,
                "rescale_axis": self.rescale_axis,
                "rescale_min": self.rescale_min,
            }
        )
        return config
