import keras
from keras import ops

from keras_stts.layers.scorer_mlp import ScorerMLP
from keras_stts.layers.token_pooler import TokenPooler
from keras_stts.ops import block_mask
from keras_stts.ops import flat_blocks
from keras_stts.ops import grid_size
from keras_stts.ops import to_blocks
from keras_stts.ops.grid import check_window


@keras.saving.register_keras_serializable(package="keras_stts")
class TokenScorer(keras.layers.Layer):
    """Scores the blocks of a video's frames by how much they matter.

    Put it after an early layer of a vision transformer (in STTS the fourth).

    Args:
        num_heads: Int. Heads of the pooling attention; STTS takes those of
            the vision transformer.
        hidden_dim: Int. Width of the scorer's hidden layers.
        window: Int. Side of a block in patches. A grid that it does not
            divide is padded on all sides. Defaults to `3`.
        grid: Optional (rows, columns) of a frame's patches. Defaults to a
            square.
        aux_coefficient: Float, schedule or `None`. Weight of the temporal
            auxiliary loss that the layer adds. Defaults to `0.5`.
        stop_gradient_target: Bool. See `keras_stts.layers.AuxiliaryLoss`.

    Call arguments:
        inputs: Tensor (B, T, N, D), patches in row order; or (B, T, P, g, D),
            the patches of each block, see `keras_stts.ops.to_blocks`.
        frame_mask: Optional bool tensor (B, T), False for padding frames.
        segments: Optional int tensor (B, T): the number of each frame's
            video in rows that several videos share, see
            `keras_stts.ops.select_blocks`.

    Returns:
        Float32 tensor (B, T, P) in (0, 1), for the P blocks of each frame in
        row order.

    Raises:
        ValueError: If the patches of a frame do not fill `grid`, or a square
            without it.

    Example:
    ```python
    patches = np.random.rand(1, 4, 81, 16)  # Four frames of 9x9 patches.
    scorer = keras_stts.layers.TokenScorer(num_heads=2, hidden_dim=32)
    scorer(patches).shape  # (1, 4, 9)
    ```

    Reference:
        STTS (arXiv 2603.18004), the token scorer.
    """

    def __init__(
        self,
        num_heads,
        hidden_dim,
        window=3,
        grid=None,
        aux_coefficient=0.5,
        *,
        stop_gradient_target=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_window(window)
        self.window = window
        self.grid = None if grid is None else tuple(grid)
        self.pooler = TokenPooler(
            num_heads, dtype=self.dtype_policy, name="pooler"
        )
        self.mlp = ScorerMLP(
            hidden_dim,
            aux_coefficient=aux_coefficient,
            stop_gradient_target=stop_gradient_target,
            dtype=self.dtype_policy,
            name="mlp",
        )

    def build(self, input_shape, *args, **kwargs):
        if len(input_shape) not in (4, 5) or (
            len(input_shape) == 5 and self.grid is None
        ):
            raise ValueError(
                "`TokenScorer` takes patches of shape (videos, frames, "
                "patches, width), or with `grid` (videos, frames, blocks, "
                f"patches, width). Received: shape {tuple(input_shape)}, "
                f"grid={self.grid}."
            )
        width, grid = input_shape[-1], self.grid
        if len(input_shape) == 4:
            grid = grid_size(input_shape[-2], grid)
        elif grid[0] is None:
            grid = grid_size(input_shape[2] * self.window**2, grid)
        mask = block_mask(grid, self.window)
        self._patch_mask = None if mask.all() else mask.tolist()
        self.pooler.build((*input_shape[:2], *mask.shape, width))
        self.mlp.build((*input_shape[:2], len(mask), width))
        self.built = True

    def call(self, inputs, frame_mask=None, segments=None):
        blocks = inputs
        if len(inputs.shape) == 4:
            blocks = to_blocks(inputs, self.window, self.grid)
        mask = self._patch_mask
        if mask is not None:
            mask = ops.convert_to_tensor(mask, "bool")
        pooled = self.pooler(blocks, mask=mask)
        return self.mlp(
            pooled,
            features=flat_blocks(blocks),
            frame_mask=frame_mask,
            segments=segments,
        )

    def compute_output_spec(self, inputs, frame_mask=None, segments=None):
        *shape, num_blocks = inputs.shape[:3]
        if len(inputs.shape) == 4:
            grid = grid_size(inputs.shape[-2], self.grid)
            num_blocks = len(block_mask(grid, self.window))
        shape = (*shape, num_blocks)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        mlp = self.mlp.get_config()
        config.update(
            {
                "num_heads": self.pooler.num_heads,
                "hidden_dim": self.mlp.hidden_dim,
                "window": self.window,
                "grid": self.grid,
                "aux_coefficient": mlp["aux_coefficient"],
                "stop_gradient_target": mlp["stop_gradient_target"],
            }
        )
        return config
