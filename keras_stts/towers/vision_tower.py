import functools

import keras
from keras import ops

from keras_stts.kernels.settled import settled
from keras_stts.ops import Frames
from keras_stts.ops import attention
from keras_stts.ops import block_grid
from keras_stts.ops import block_mask
from keras_stts.ops import grid_size
from keras_stts.ops import to_blocks
from keras_stts.ops import unmerged
from keras_stts.ops.shown import gather_patches
from keras_stts.preprocessing.input_layout import InputLayout
from keras_stts.pruning.method import PruningMethod


class VisionTower(keras.layers.Layer):
    """A vision transformer whose layers a method of pruning can walk through.

    The base class of towers. A subclass makes `blocks`, its layers, in the
    constructor, and says how pixels become patches in `embed`; see
    `docs/towers.md` for a whole one. A layer is called as
    `keras_stts.towers.TowerBlock` is, with the attention to use as `attend`
    and with a `bias`; to run with methods that merge, with `merge`, too.
    Layers have the tower's dtype policy, `dtype=self.dtype_policy`, or
    `from_preset(dtype=...)` does not reach them.

    Args:
        image_size: Int. Side of the square frames in pixels; `None` for a
            tower that overrides `grid`.
        patch_size: Int. Side of a patch in pixels.
        hidden_dim: Int. Width D.
        num_heads: Int. Heads of the layers; STTS' scorer has as many.
        intermediate_dim: Int. Width of the MLPs, and of the scorer's.
        feature_layers: Ints. Layers, from 0, whose outputs are joined into
            the features, in this order.
        window: Int. Side of a block in patches. Defaults to `3`.
        rematerialize: Bool. Whether training computes layers again for their
            gradients instead of keeping what they compute on the way; a
            subclass passes it on to its layers. Defaults to `False`.

    Call arguments:
        inputs: Uint8 tensor (B, T, image_size, image_size, 3).
        frames: Optional `keras_stts.ops.Frames`: which frames are real, and
            which of several videos that share a row each belongs to.
        pruning: Optional `keras_stts.pruning.PruningMethod`, attached.
            Defaults to none.

    Returns:
        Dict of
        - `"features"`: tensor (B, K, g, F), the patches of the kept blocks,
        if `window` does not divide the grid of patches,
        - `"patch_mask"`: bool tensor (B, K, g), or (1, K, g) if nothing is
          pruned, False at places of a block outside of its frame,
        and, if blocks are pruned,
        - `"selection"`: the `keras_stts.ops.Selection` of those blocks,
        - `"scores"`: float32 tensor (B, T, P),
        - `"similarity"`: float32 tensor (B, T, P), of each block to the same
          block of the previous frame;
        and, if patches are merged,
        - `"place"`: int32 tensor (B, T, N), see `keras_stts.ops.Merged`.

    Attributes:
        blocks: List of the layers, which a subclass sets.
        head_dim: Int. `hidden_dim // num_heads`, unless a subclass sets it.
            Memory and operations are counted by it.
        patches_shape: Tuple of patches N of a frame, and their width D.

    Example:
    ```python
    class Tower(keras_stts.towers.VisionTower):
        '''Patches without positions.'''

        def __init__(self, num_layers, **kwargs):
            super().__init__(**kwargs)
            self.num_layers = num_layers
            self.patchify = keras.layers.Conv2D(
                self.hidden_dim, self.patch_size, self.patch_size
            )
            self.blocks = [
                keras_stts.towers.VisionBlock(
                    self.num_heads,
                    self.head_dim,
                    self.intermediate_dim,
                    rematerialize=self.rematerialize,
                    dtype=self.dtype_policy,
                )
                for _ in range(num_layers)
            ]

        def build(self, input_shape=None):
            self.patchify.build((None, self.image_size, self.image_size, 3))
            super().build(input_shape)

        def embed(self, inputs, frames=None):
            _, num_frames, *shape = inputs.shape
            x = keras.ops.reshape(inputs, (-1, *shape))
            x = self.patchify(keras.ops.cast(x, "float32") / 127.5 - 1)
            return keras.ops.reshape(x, (-1, num_frames, *self.patches_shape))

        def get_config(self):
            return {**super().get_config(), "num_layers": self.num_layers}

    tower = Tower(
        num_layers=2,
        image_size=24,
        patch_size=4,
        hidden_dim=32,
        num_heads=2,
        intermediate_dim=64,
        feature_layers=[1],
    )
    videos = np.zeros((1, 8, 24, 24, 3), "uint8")
    tower(videos)["features"].shape  # (1, 32, 9, 32)
    ```
    """

    def __init__(
        self,
        *,
        image_size,
        patch_size,
        hidden_dim,
        num_heads,
        intermediate_dim,
        feature_layers,
        window=3,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**{"name": "vision_encoder", **kwargs})
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.feature_layers = tuple(feature_layers)
        self.window = window
        self.head_dim = hidden_dim // num_heads
        self.rematerialize = rematerialize
        self.blocks = []
        if image_size is not None and image_size % patch_size:
            raise ValueError(
                "`patch_size` must divide the height and width of the frames. "
                f"Received: patch_size={patch_size}, frames of "
                f"{image_size}x{image_size}."
            )

    def build(self, input_shape=None):
        """Make the weights of `blocks`; a subclass makes the rest before.

        Args:
            input_shape: Not used: the sizes are arguments of the tower, whose
                weights are made even if a model takes no videos.
        """
        self.check_feature_layers()
        for block in self.blocks:
            if not block.built:
                block.build((None, *self.patches_shape))
        self.built = True

    def check_feature_layers(self):
        """Raise unless `feature_layers` are some of `blocks`."""
        number = len(self.blocks)
        bad = [i for i in self.feature_layers if not 0 <= i < number]
        if bad or not self.feature_layers:
            raise ValueError(
                "`feature_layers` must name layers from 0 to num_layers - 1. "
                f"Received: feature_layers={self.feature_layers}, num_layers="
                f"{number}."
            )

    @property
    def grid(self):
        """Rows and columns of the patches of a frame."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def patches_shape(self):
        """Patches N of a frame, and their width D."""
        rows, columns = self.grid
        return rows * columns, self.hidden_dim

    @property
    def sizes(self):
        """What is counted by: dict of `"frame_patches"`, patches N of a frame,
        `"vision_patches"`, places with a learned position, `"pixels"`,
        numbers in a patch, `"vision_num_layers"`, and of a tower that rotates
        queries and keys by position `"vision_rotates"`."""
        number, _ = self.patches_shape
        return {
            "vision_num_layers": len(self.blocks),
            "frame_patches": number,
            "vision_patches": number,
            "pixels": 3 * self.patch_size**2,
        }

    @property
    def num_blocks(self):
        """Blocks P of a frame."""
        rows, columns = self.block_grid
        return rows * columns

    @property
    def block_grid(self):
        """Rows and columns of the blocks of a frame."""
        return block_grid(self.grid, self.window)

    @property
    def features_shape(self):
        """Places g of a block, and the width F of the features."""
        return self.window**2, self.hidden_dim * len(self.feature_layers)

    def embed(self, inputs, frames=None):
        """Patches before the first layer.

        Args:
            inputs: Uint8 tensor (B, T, image_size, image_size, 3).
            frames: `keras_stts.ops.Frames`, of towers whose frames differ.

        Returns:
            Tensor (B, T, N, D), patches in row order.
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `embed(inputs, frames)`."
        )

    def attend_frames(self, frames, num_patches, reach=None):
        """The attention of layers on whole frames (B * T, N, D).

        A tower overrides it whose attention needs the places of patches, or
        whose frames have less than N.

        Args:
            frames: `keras_stts.ops.Frames`.
            num_patches: Int N.
            reach: Optional `keras_stts.ops.Reach`, patches that are seen.
                Defaults to all.

        Returns:
            Function of query, key, value (B * T, N, heads, head_dim).
        """
        if reach is None:
            return attention
        return functools.partial(attention, reach=reach)

    def attend_packed(self, attend, pack, frames, num_patches):
        """The attention of layers on the kept patches of all frames.

        A tower overrides it whose attention needs the places of patches.

        Args:
            attend: Function of query, key, value (B, K * g, heads, head_dim),
                within each frame.
            pack: Function that takes what is of kept patches: (B, T, N, ...)
                to (B, K * g, ...).
            frames: `keras_stts.ops.Frames`.
            num_patches: Int N.

        Returns:
            Function as `attend`.
        """
        return attend

    def start_merging(self, x, frames):
        """The `keras_stts.ops.Merged` of patches (B * T, N, D) of frames."""
        return unmerged(x)

    def attend_merged(self, merged):
        """The attention of layers on merged tokens, each weighed by its size.

        A tower overrides it whose attention needs the places of patches.

        Args:
            merged: `keras_stts.ops.Merged` of the tokens (rows, n, D).

        Returns:
            Function of query, key, value (rows, n, heads, head_dim).
        """
        bias = ops.log(merged.size)[:, None, None]
        return functools.partial(attention, bias=bias)

    def call(self, inputs, frames=None, pruning=None):
        frames = Frames() if frames is None else frames
        method = PruningMethod() if pruning is None else pruning
        return method.encode(self, self.embed(inputs, frames), frames)

    def image_blocks(self, inputs):
        """The patches of each token of images.

        Args:
            inputs: Dict of a model's inputs, of which `"images"`, uint8
                (B, C, H, W, 3), and `"image_pooling"`, int (B, M, 4), are
                used.

        Returns:
            Tuple, see `keras_stts.ops.shown.gather_patches`.
        """
        features = self.encode_images(inputs["images"])
        return gather_patches(features, inputs["image_pooling"])

    def input_layout(self, backbone):
        """The `InputLayout` of a backbone with this tower."""
        return InputLayout.of(
            backbone,
            prompt_mask=backbone.language_pruning is not None,
            image_size=(self.image_size, self.image_size),
        )

    def encode_images(self, images):
        """Features of all patches (B, C * N, F) of images (B, C, H, W, 3)."""
        x = self.embed(images)
        num_images, num_patches = x.shape[1:3]
        x = ops.reshape(x, (-1, *x.shape[2:]))
        x = self._joined(self.run(x, self.blocks))
        return ops.reshape(x, (-1, num_images * num_patches, x.shape[-1]))

    def encode_whole(self, x, frames):
        """Run all layers on whole frames (B, T, N, D): dict, see `call`."""
        shape = (-1, *x.shape[1:])
        x = ops.reshape(x, (-1, *x.shape[2:]))
        attend = self.attend_frames(frames, x.shape[1])
        hidden = self.run(x, self.blocks, attend=attend)
        hidden = {i: ops.reshape(h, shape) for i, h in hidden.items()}
        return self.features_of_frames(hidden)

    def run(self, x, blocks, *, also=(), attend=attention, bias=None):
        """Run some layers.

        Args:
            x: Tensor (rows, n, D).
            blocks: List, layers that follow each other.
            also: Ints, layers whose outputs are returned, too.
            attend: Function, see `keras_stts.towers.TowerBlock`.
            bias: Optional tensor, see `keras_stts.towers.TowerBlock`.

        Returns:
            Dict of the number of a layer to its output (rows, n, D): those
            of `feature_layers` and `also`.
        """
        outputs = {}
        for block in blocks:
            x = block(x, attend=attend, bias=bias)
            index = self.blocks.index(block)
            if index in self.feature_layers or index in also:
                x = outputs[index] = settled(x)
        return outputs

    def features_of_frames(self, hidden):
        """Dict of `"features"` (B, T * P, g, F) and perhaps `"patch_mask"`.

        Args:
            hidden: Dict of the number of a layer to a tensor (B, T, N, D).
        """
        blocks = {
            i: to_blocks(hidden[i], self.window, self.grid)
            for i in self.feature_layers
        }
        x = self._joined(blocks)
        num_frames = x.shape[1]
        x = ops.reshape(x, (-1, num_frames * x.shape[2], *x.shape[3:]))
        grid = grid_size(hidden[self.feature_layers[0]].shape[2], self.grid)
        mask = block_mask(grid, self.window)
        if mask.all():
            return {"features": x}
        mask = ops.convert_to_tensor(mask.tolist() * num_frames, "bool")
        return {"features": x, "patch_mask": mask[None]}

    def features_of_blocks(self, hidden, patch_mask=None):
        """Dict of `"features"` (B, K, g, F) and perhaps `"patch_mask"`.

        Args:
            hidden: Dict of the number of a layer to a tensor (B, K * g, D),
                the kept patches.
            patch_mask: Optional bool tensor (B, K, g).
        """
        x = self._joined(hidden)
        size = self.window**2
        x = ops.reshape(x, (-1, x.shape[1] // size, size, x.shape[2]))
        if patch_mask is None:
            return {"features": x}
        return {"features": x, "patch_mask": patch_mask}

    def _joined(self, hidden):
        layers = [hidden[i] for i in self.feature_layers]
        return ops.concatenate(layers, axis=-1)

    def get_config(self):
        names = ("image_size", "patch_size", "hidden_dim", "num_heads")
        names += ("intermediate_dim", "feature_layers", "window")
        names += ("rematerialize",)
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own}
