import math

import keras
from keras import ops

from keras_stts.ops import Selection
from keras_stts.ops import block_grid
from keras_stts.ops import block_mask
from keras_stts.ops import frame_layout
from keras_stts.ops import from_blocks
from keras_stts.ops import grid_size
from keras_stts.ops import plan_groups
from keras_stts.ops import ragged_attention
from keras_stts.ops import unpack_blocks
from keras_stts.ops.grid import check_window
from keras_stts.ops.grid import patches_of_blocks
from keras_stts.ops.packing import pack_patches


@keras.saving.register_keras_serializable(package="keras_stts")
class RaggedPacking(keras.layers.Layer):
    """Runs transformer layers on the kept patches only, with static shapes.

    Calling the layer gathers the kept patches of each video into one sequence,
    in the order of their frames. Everything but attention works on it as it
    is; `attention` lets each patch see the kept patches of its own frame;
    `unpack` puts the patches back on the grid.

    Args:
        window: Int. Side of a block in patches. Defaults to `3`.
        grid: Optional (rows, columns) of a frame's patches. Defaults to a
            square.

    Call arguments:
        inputs: Tensor (B, T, N, D).
        selection: A `keras_stts.ops.Selection`, see `TokenPruning`.

    Returns:
        Tensor (B, K * g, D), g = window squared: the blocks of
        `selection.index`, each with its patches in row order.

    Raises:
        ValueError: If `inputs` have another rank, or if `selection` was made
            for another number of frames or blocks.

    Example:
    ```python
    patches = np.random.rand(1, 4, 81, 16)
    selection = keras_stts.layers.TokenPruning(0.5)(np.random.rand(1, 4, 9))
    packing = keras_stts.layers.RaggedPacking(window=3)
    x = packing(patches, selection)  # (1, 162, 16)
    layout = packing.layout(selection)  # Once, for all layers.
    heads = keras.ops.reshape(x, (1, 162, 2, 8))
    y = packing.attention(heads, heads, heads, layout)
    packing.unpack(x, selection).shape  # (1, 4, 81, 16)
    ```

    Reference:
        STTS (arXiv 2603.18004), whose bin packing it replaces.
    """

    def __init__(self, window=3, grid=None, **kwargs):
        super().__init__(**kwargs)
        check_window(window)
        self.window = window
        self.grid = None if grid is None else tuple(grid)

    def build(self, input_shape, *args, **kwargs):
        if len(input_shape) != 4:
            raise ValueError(
                "`RaggedPacking` takes patches of shape (videos, frames, "
                f"patches, width). Received: shape {tuple(input_shape)}."
            )
        grid = grid_size(input_shape[-2], self.grid)
        mask = block_mask(grid, self.window)
        no_rows = self.grid is not None and self.grid[0] is None
        self._grid = self.grid if no_rows else grid
        self._patch_mask = None if mask.all() else mask.tolist()
        self.built = True

    def call(self, inputs, selection):
        num_frames, num_patches = inputs.shape[1:3]
        grid = grid_size(num_patches, self.grid)
        num_blocks = math.prod(block_grid(grid, self.window))
        selection = _checked(selection, num_frames, num_blocks)
        index = patches_of_blocks(selection.index, self.window, grid)
        num_kept = index.shape[1] * self.window**2
        flat = pack_patches(inputs, ops.reshape(index, (-1, num_kept)))
        mask = self.patch_mask(selection)
        if mask is None:
            return flat
        mask = ops.reshape(mask, (-1, num_kept, 1))
        return ops.where(mask, flat, ops.zeros_like(flat))

    def layout(self, selection, *, first_is_whole=True):
        """The `Layout` that `attention` takes, once per forward pass.

        Args:
            selection: A `keras_stts.ops.Selection`.
            first_is_whole: Bool, see `keras_stts.ops.frame_layout`.
        """
        groups = self._groups(selection)
        layout = frame_layout(selection, groups, first_is_whole=first_is_whole)
        return layout, groups, self.patch_mask(selection)

    def _groups(self, selection):
        _, num_frames, num_blocks = selection.kept.shape
        return plan_groups(num_frames, num_blocks, selection.index.shape[1])

    def patch_mask(self, selection):
        """Bool (B, K, g), False for padding in blocks; None without any."""
        if self._patch_mask is None:
            return None
        mask = ops.convert_to_tensor(self._patch_mask, "bool")
        return ops.take(mask, selection.index % len(self._patch_mask), axis=0)

    def attention(self, query, key, value, layout):
        """Attention inside each frame.

        Args:
            query: Tensor (B, K * g, heads, head_dim).
            key: Tensor of the same shape.
            value: Tensor of the same shape.
            layout: What `layout(selection)` returned.

        Returns:
            Tensor (B, K * g, heads, head_dim).
        """
        layout, groups, patch_mask = layout
        return ragged_attention(
            query,
            key,
            value,
            layout,
            groups,
            window=self.window,
            patch_mask=patch_mask,
        )

    def unpack(self, x, selection):
        """Back to the grid: (B, K * g, D) -> (B, T, N, D), zeros elsewhere."""
        size, width = self.window**2, x.shape[-1]
        blocks = ops.reshape(x, (-1, x.shape[1] // size, size, width))
        blocks = unpack_blocks(blocks, selection)
        return from_blocks(blocks, self.window, self._grid)

    def compute_output_spec(self, inputs, selection):
        grid = grid_size(inputs.shape[2], self.grid)
        rows, columns = block_grid(grid, self.window)
        selection = _checked(selection, inputs.shape[1], rows * columns)
        num_kept = selection.index.shape[1] * self.window**2
        shape = (inputs.shape[0], num_kept, inputs.shape[-1])
        return keras.KerasTensor(shape, dtype=inputs.dtype)

    def get_config(self):
        config = super().get_config()
        config.update({"window": self.window, "grid": self.grid})
        return config


def _checked(selection, num_frames, num_blocks):
    """The selection, if it was made for frames of that many blocks."""
    selection = Selection(*selection)  # A loaded model holds a plain tuple.
    if selection.kept.shape[1:] != (num_frames, num_blocks):
        raise ValueError(
            "`selection` must fit the frames and blocks of the patches. "
            f"Received: a selection of {selection.kept.shape[1]} frames of "
            f"{selection.kept.shape[2]} blocks, and patches of {num_frames} "
            f"frames of {num_blocks}. Check `window` and `grid`."
        )
    return selection
