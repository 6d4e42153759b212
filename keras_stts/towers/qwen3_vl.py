import functools

import keras
import numpy as np
from keras import ops

from keras_stts.language.rope import rotated
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.layers.initializers import normal_initializer
from keras_stts.ops import Frames
from keras_stts.ops import Reach
from keras_stts.ops import attention
from keras_stts.ops import pack_blocks
from keras_stts.ops import unmerged
from keras_stts.ops.places import places_of
from keras_stts.preprocessing.input_layout import PatchLayout
from keras_stts.towers.shapes import vision_transformer
from keras_stts.towers.vision_block import VisionBlock
from keras_stts.towers.vision_tower import VisionTower

ROPE_MAX_WAVELENGTH = 10000.0


@keras.saving.register_keras_serializable(package="keras_stts")
class Qwen3VLVisionEncoder(VisionTower):
    """The vision transformer of Qwen3-VL, on frames of any size.

    A frame here is what Qwen calls a temporal patch: two frames of a video.
    Blocks are those of its mergers, 2x2 patches, which lie side by side in
    the inputs, row after row; blocks that a frame lacks come last.

    Args:
        num_layers: Int. Number of transformer layers.
        hidden_dim: Int. Width D.
        num_heads: Int.
        intermediate_dim: Int. Width of the MLPs, and of STTS' scorer's.
        num_blocks: Int P. Most blocks of a frame of a video.
        deepstack_layers: Ints. Layers, from 0, whose outputs go to the first
            layers of the language model. Defaults to none.
        num_image_blocks: Optional int. Most blocks of an image. Defaults to
            `num_blocks`.
        patch_size: Int. Side of a patch in pixels.
        temporal_patch_size: Int. Frames of a video in one frame here.
        window: Int. Side of a block in patches. Defaults to `2`.
        position_side: Int. Rows and columns of the learned positions, between
            which those of a frame are interpolated.
        pixel_mean: Float. Subtracted from pixels of [0, 1]. Defaults to
            `0.5`.
        pixel_std: Float. What that is divided by. Defaults to `0.5`.
        activation: Str. Activation of the MLPs, one of
            `keras_stts.layers.activations`.
        layer_norm_epsilon: Float.
        rematerialize: Bool. Whether training computes layers again for their
            gradients instead of keeping what they compute on the way.

    Call arguments:
        inputs: Uint8 tensor (B, T, N, patch values), N = 4 * P.
        frames: `keras_stts.ops.Frames`, with `grids`.
        pruning: See `VisionTower`.

    Returns: See `VisionTower`. The features of a block are those of
        `deepstack_layers` and then of the last layer.

    Example:
    ```python
    tower = keras_stts.towers.Qwen3VLVisionEncoder(
        num_layers=4,
        hidden_dim=32,
        num_heads=2,
        intermediate_dim=64,
        num_blocks=6,
        deepstack_layers=[1],
    )
    patches = np.zeros((1, 2, 24, 2 * 16 * 16 * 3), "uint8")
    frames = keras_stts.ops.Frames(
        np.ones((1, 2), bool), grids=np.array([[[2, 3], [2, 3]]])
    )
    tower(patches, frames)["features"].shape  # (1, 12, 4, 64)
    ```

    References:
        Qwen3-VL (arXiv 2511.21631), DeepStack (arXiv 2406.04334).
    """

    def __init__(
        self,
        num_layers,
        hidden_dim,
        *,
        num_heads,
        intermediate_dim,
        num_blocks,
        deepstack_layers=(),
        num_image_blocks=None,
        patch_size=16,
        temporal_patch_size=2,
        window=2,
        position_side=48,
        pixel_mean=0.5,
        pixel_std=0.5,
        activation="gelu_pytorch_tanh",
        layer_norm_epsilon=1e-6,
        rematerialize=False,
        **kwargs,
    ):
        config = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "kwargs", "__class__")
        }
        super().__init__(
            image_size=None,
            patch_size=patch_size,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            intermediate_dim=intermediate_dim,
            feature_layers=[*deepstack_layers, num_layers - 1],
            window=window,
            rematerialize=rematerialize,
            **kwargs,
        )
        self._config = config
        self.num_layers = num_layers
        self.most_blocks = num_blocks
        self.num_image_blocks = num_image_blocks or num_blocks
        self.temporal_patch_size = temporal_patch_size
        self.position_side = position_side
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        if self.head_dim % 4:
            raise ValueError(
                "A head's width must be a multiple of 4: rows and columns "
                "each rotate pairs of one half of it. Received: hidden_dim="
                f"{hidden_dim}, num_heads={num_heads}."
            )
        self.patch_embedding = Dense(
            hidden_dim,
            kernel_initializer=glorot_initializer(),
            dtype=self.dtype_policy,
            name="patch_embedding",
        )
        self.blocks = [
            VisionBlock(
                num_heads,
                self.head_dim,
                intermediate_dim,
                activation,
                layer_norm_epsilon,
                rematerialize=rematerialize,
                dtype=self.dtype_policy,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.check_feature_layers()

    @property
    def grid(self):
        """Blocks stand in one column, as many as there are."""
        return None, self.window

    @property
    def block_grid(self):
        """Those of a frame with most blocks."""
        return self.most_blocks, 1

    @property
    def patches_shape(self):
        """Most patches N of a frame, and their width D."""
        return self.most_blocks * self.window**2, self.hidden_dim

    @property
    def patch_values(self):
        """Numbers in a patch."""
        return 3 * self.temporal_patch_size * self.patch_size**2

    @property
    def sizes(self):
        return {
            "frame_patches": self.patches_shape[0],
            "vision_patches": self.position_side**2,
            "pixels": self.patch_values,
            "vision_rotates": True,
        }

    def weight_shapes(self, sizes):
        """Dict of path to shape of the weights that it is going to have.

        Args:
            sizes: Dict, see `keras_stts.models.sizes.of_backbone`.
        """
        return vision_transformer(sizes)

    def build(self, input_shape=None):
        self.patch_embedding.build((None, None, self.patch_values))
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(self.position_side**2, self.hidden_dim),
            initializer=normal_initializer(),
        )
        super().build(input_shape)

    def embed(self, inputs, frames=None):
        if frames is None or frames.grids is None:
            raise ValueError(
                "Frames of Qwen3-VL have grids of their own, which the "
                "positions of patches depend on. Received: none. Pass "
                "`keras_stts.ops.Frames(mask, grids=...)`."
            )
        x = ops.cast(inputs, "float32")
        x = (x / 255.0 - self.pixel_mean) / self.pixel_std
        x = self.patch_embedding(ops.cast(x, self.compute_dtype))
        places = self._places(frames.grids, inputs.shape[2])
        return x + ops.cast(self._positions(places, frames.grids), x.dtype)

    def _places(self, grids, num_patches):
        """Row and column of each patch in its frame: int32 (B, T, N, 2)."""
        columns = ops.maximum(ops.cast(grids, "int32")[..., 1:], 1)
        place = ops.arange(num_patches, dtype="int32")
        block, inside = place // self.window**2, place % self.window**2
        row = block // columns * self.window + inside // self.window
        column = block % columns * self.window + inside % self.window
        return ops.stack([row, column], axis=-1)

    def _positions(self, places, grids):
        """The learned positions, interpolated: (B, T, N, D)."""
        last = ops.maximum(ops.cast(grids, "int32") * self.window - 1, 1)
        side = self.position_side
        exact = ops.cast(places, "float32") * (side - 1)
        exact = exact / ops.cast(last, "float32")[:, :, None]
        # Padding lies outside.
        exact = ops.minimum(exact, side - 1.0)
        before = ops.floor(exact)
        share = exact - before
        before = ops.cast(before, "int32")
        after = ops.minimum(before + 1, side - 1)
        table, total = ops.convert_to_tensor(self.position_embedding), 0.0
        for rows, row_share in ((before, 1 - share), (after, share)):
            for columns, share_ in ((before, 1 - share), (after, share)):
                index = rows[..., 0] * side + columns[..., 1]
                weight = row_share[..., :1] * share_[..., 1:]
                taken = ops.take(table, index, axis=0)
                total = total + ops.cast(taken, "float32") * weight
        return total

    def _angles(self, places):
        """Cosines and sines (..., 1, head_dim / 2) of patches' places."""
        count = self.head_dim // 4
        exponents = np.arange(count, dtype="float32") / count
        steps = 1.0 / np.float32(ROPE_MAX_WAVELENGTH) ** exponents
        steps = ops.convert_to_tensor(steps.astype("float32"))
        angles = ops.cast(places, "float32")[..., None] * steps
        angles = ops.reshape(angles, (*ops.shape(places)[:-1], 1, 2 * count))
        return ops.cos(angles), ops.sin(angles)

    def attend_frames(self, frames, num_patches, reach=None):
        places = self._places(frames.grids, num_patches)
        places = ops.reshape(places, (-1, num_patches, 2))
        number = ops.reshape(frames.num_blocks, (-1, 1)) * self.window**2
        number = ops.maximum(number, 1)  # Padding sees itself.
        if reach is None:
            reach = Reach(stop=number)
        else:
            reach = reach._replace(marked_stop=number)
        attend = functools.partial(attention, reach=reach)
        return functools.partial(_rotated, self._angles(places), attend)

    def attend_packed(self, attend, pack, frames, num_patches):
        places = self._places(frames.grids, num_patches)
        places = pack(ops.cast(places, "float32"))
        return functools.partial(_rotated, self._angles(places), attend)

    def start_merging(self, x, frames):
        number = ops.reshape(frames.num_blocks, (-1, 1)) * self.window**2
        places = self._places(frames.grids, x.shape[1])
        places = ops.reshape(places, (-1, x.shape[1], 2))
        return unmerged(x, number, ops.cast(places, "float32"))

    def attend_merged(self, merged):
        # Padding is not seen.
        bias = ops.log(ops.maximum(merged.size, 1e-30))
        attend = functools.partial(attention, bias=bias[:, None, None])
        angles = self._angles(merged.position)
        return functools.partial(_rotated, angles, attend)

    def image_blocks(self, inputs):
        """The patches of each token of images.

        Args:
            inputs: Dict of a model's inputs, of which `"images"`, uint8
                (B, I, N, patch values), and `"image_grids"`, int (B, I, 2),
                rows and columns of blocks, 0 of padding, are used.

        Returns:
            Tuple, see `keras_stts.ops.shown.gather_patches`.
        """
        images = inputs["images"]
        frames = Frames(grids=inputs["image_grids"])
        x = self.embed(images, frames)
        _, num_images, num_patches, width = x.shape
        x = ops.reshape(x, (-1, num_patches, width))
        hidden = self.run(
            x, self.blocks, attend=self.attend_frames(frames, num_patches)
        )
        hidden = {
            i: ops.reshape(x, (-1, num_images * num_patches, width))
            for i, x in hidden.items()
        }
        x = self.features_of_blocks(hidden)["features"]
        total = x.shape[1]
        first = images[:, :, :: self.window**2, 0]  # One patch a block.
        real = ops.reshape(frames.real(first), (-1, total))
        count = ops.sum(ops.cast(real, "int32"), axis=-1)
        return pack_blocks(x, places_of(real, total)), None, count

    def input_layout(self, backbone):
        return PatchLayout.of(
            backbone,
            prompt_mask=backbone.language_pruning is not None,
            block_patches=self.window**2,
            patch_values=self.patch_values,
            num_image_blocks=self.num_image_blocks,
        )

    def get_config(self):
        names = ("name", "trainable", "dtype")
        config = super().get_config()
        return {**{name: config[name] for name in names}, **self._config}


def _rotated(angles, attend, query, key, value, **kwargs):
    """Attention whose queries and keys are rotated, in float32."""
    query, key = (
        ops.cast(rotated(ops.cast(x, "float32"), *angles), x.dtype)
        for x in (query, key)
    )
    return attend(query, key, value, **kwargs)
