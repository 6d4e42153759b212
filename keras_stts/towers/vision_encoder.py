import functools

import keras
from keras import ops

from keras_stts.kernels.settled import settled
from keras_stts.layers import RaggedPacking
from keras_stts.layers import ScoreBias
from keras_stts.layers import TokenPruning
from keras_stts.layers import TokenScorer
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.layers.initializers import normal_initializer
from keras_stts.ops import RESCALE_MIN
from keras_stts.ops import Reach
from keras_stts.ops import alone_in_row
from keras_stts.ops import attention
from keras_stts.ops import block_mask
from keras_stts.ops import merge_schedule
from keras_stts.ops import neighbor_similarity
from keras_stts.ops import spread_to_patches
from keras_stts.ops import to_blocks
from keras_stts.pruning import STTS
from keras_stts.pruning import get as get_pruning
from keras_stts.pruning import serialize
from keras_stts.towers.patches import by_pixel
from keras_stts.towers.patches import patchify
from keras_stts.towers.vision_block import VisionBlock


@keras.saving.register_keras_serializable(package="keras_stts")
class VisionEncoder(keras.layers.Layer):
    """A vision transformer that prunes its patches on the way.

    Blocks 0 to `prune_layer` see whole frames; what they give is scored; the
    next block runs, with STTS' scores as attention bias; the rest runs on
    the kept patches alone. Or blocks merge patches, and nothing is pruned.

    Args:
        num_layers: Int. Number of transformer blocks.
        hidden_dim: Int. Width D.
        num_heads: Int.
        head_dim: Int.
        intermediate_dim: Int. Width of the MLPs, and of the scorer's.
        patch_size: Int. Side of a patch in pixels.
        feature_layers: Ints. Blocks whose outputs are the features, in the
            order in which they are joined.
        window: Int. Side of a block in patches.
        prune_ratio: Float in [0, 1). Share of the blocks removed; at 0 the
            scorer keeps its weights and is not run.
        prune_layer: Int. The block whose output is scored, from 0.
        pruning: Str, `keras_stts.pruning.Ranking` of this place, `Merging`, or
            config: what prunes, see `keras_stts.pruning`.
        rescale_axis: `"row"` or `"frame"`.
        rescale_min: Float.
        refill: Bool. Whether frames that the published packer leaves alone in
            a row keep attending to all their patches, as published weights
            were trained. Pruning then saves nothing in this encoder.
        pixel_mean: Float, or one for each of red, green and blue. Subtracted
            from pixels of [0, 1].
        pixel_std: As `pixel_mean`. What that is divided by.
        activation: Str. Activation of the MLPs.
        layer_norm_epsilon: Float.
        rematerialize: Bool. Whether training computes blocks again for their
            gradients instead of keeping what is inside of them.
        num_segments: Int. Most videos of a row, if `segments` are given.

    Call arguments:
        inputs: Uint8 tensor (B, T, H, W, 3).
        frame_mask: Bool tensor (B, T), False for padding frames.
        segments: Optional int tensor (B, T): which of several videos that
            share a row a frame belongs to.
        whole: Bool. Whether the inputs are images, of which nothing is
            pruned.

    Returns:
        With `whole` a tensor (B, T * N, F), the features of all patches, else
        a dict of
        - `"features"`: tensor (B, K, g, F), the patches of the kept blocks,
        if `window` does not divide the grid of patches,
        - `"patch_mask"`: bool tensor (B, K, g), or (1, K, g) if nothing is
          pruned, False at places of a block outside of its frame,
        and, if anything is pruned,
        - `"selection"`: the `keras_stts.ops.Selection` of those blocks,
        - `"scores"`: float32 tensor (B, T, P),
        - `"similarity"`: float32 tensor (B, T, P), of each block to the same
          block of the previous frame.

    Reference:
        STTS (arXiv 2603.18004); SigLIP 2 as in Molmo2 (arXiv 2601.10611).
    """

    def __init__(
        self,
        num_layers,
        hidden_dim,
        *,
        num_heads,
        head_dim,
        intermediate_dim,
        patch_size,
        feature_layers,
        window=3,
        prune_ratio=0.5,
        prune_layer=3,
        pruning="stts",
        rescale_axis="row",
        rescale_min=RESCALE_MIN,
        refill=False,
        pixel_mean=0.5,
        pixel_std=0.5,
        activation="gelu_pytorch_tanh",
        layer_norm_epsilon=1e-6,
        rematerialize=False,
        num_segments=1,
        **kwargs,
    ):
        config = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "kwargs", "__class__")
        }
        super().__init__(**kwargs)
        config["feature_layers"] = tuple(feature_layers)
        config["pruning"] = serialize(pruning)
        self._config = config
        for name, value in self._config.items():
            setattr(self, name, value)
        self._check_layers()
        self.method = get_pruning(pruning)
        self.merges = not self.method.prunes_blocks
        self._check_place()
        self.select = TokenPruning(prune_ratio, num_segments, name="select")
        self.patch_embedding = Dense(
            hidden_dim,
            kernel_initializer=glorot_initializer(),
            dtype=self.dtype_policy,
            name="patch_embedding",
        )
        self.blocks = [
            VisionBlock(
                num_heads,
                head_dim,
                intermediate_dim,
                activation,
                layer_norm_epsilon,
                rematerialize=rematerialize,
                dtype=self.dtype_policy,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]

    def _check_layers(self):
        if not 0 <= self.prune_layer < self.num_layers - 1:
            raise ValueError(
                "`prune_layer` is scored and the block after it is the last "
                "to see whole frames, so it must lie in [0, num_layers - 2]. "
                f"Received: prune_layer={self.prune_layer}, num_layers="
                f"{self.num_layers}."
            )
        bad = [i for i in self.feature_layers if not 0 <= i < self.num_layers]
        if bad or not self.feature_layers:
            raise ValueError(
                "`feature_layers` must name blocks from 0 to num_layers - 1. "
                f"Received: feature_layers={self.feature_layers}, num_layers="
                f"{self.num_layers}."
            )

    def _check_place(self):
        place = self.method.place
        if self.prune_ratio and place != "vision_encoder":
            raise ValueError(
                "The vision encoder runs methods whose place it is. Received: "
                f"pruning={self.pruning!r}, whose place is {place!r}. Give it "
                "to `VideoVLMBackbone`, which runs it there."
            )
        if self.prune_ratio and self.merges and self.refill:
            raise ValueError(
                "`refill` gives frames pruned patches back, and "
                f"{type(self.method).__name__} prunes none. Received: "
                f"refill=True, pruning={self.pruning!r}."
            )

    def build(self, input_shape, *args, **kwargs):
        _, num_frames, height, width, channels = input_shape
        patch = self.patch_size
        if height % patch or width % patch:
            raise ValueError(
                "`patch_size` must divide the height and width of the frames. "
                f"Received: patch_size={patch}, frames of {height}x{width}."
            )
        grid = (height // patch, width // patch)
        num_patches = grid[0] * grid[1]
        self._build_pruning(grid, num_frames, num_patches)
        self.patch_embedding.build((None, None, patch**2 * channels))
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(num_patches, self.hidden_dim),
            initializer=normal_initializer(),
        )
        for block in self.blocks:
            block.build((None, num_patches, self.hidden_dim))
        self.built = True

    def _build_pruning(self, grid, num_frames, num_patches):
        options = {"window": self.window, "grid": grid}
        # Its weights are there at every ratio, so that a ratio can change.
        self.scorer = TokenScorer(
            self.num_heads,
            self.intermediate_dim,
            aux_coefficient=None,
            dtype=self.dtype_policy,
            name="scorer",
            **options,
        )
        self.scorer.build((None, num_frames, num_patches, self.hidden_dim))
        if not self.uses_scorer:
            self.scorer.trainable = False
        self.bias = ScoreBias(
            rescale_axis=self.rescale_axis,
            rescale_min=self.rescale_min,
            name="bias",
            **options,
        )
        self.packing = RaggedPacking(
            dtype=self.dtype_policy, name="packing", **options
        )
        self.packing.build((None, num_frames, num_patches, self.hidden_dim))
        num_blocks = len(block_mask(grid, self.window))
        self.bias.build((None, num_frames, num_blocks))
        if self.merges:
            self.merge_counts = merge_schedule(
                num_patches, self.num_layers, self.prune_ratio
            )
            return
        self.select.build((None, num_frames, num_blocks))
        width = self.window**2 * self.hidden_dim
        self.method.build((None, num_frames, num_blocks, width))

    @property
    def uses_scorer(self):
        """Whether the scorer is run, and trained."""
        return bool(self.prune_ratio) and isinstance(self.method, STTS)

    def embed_patches(self, frames):
        """Uint8 frames (B, T, H, W, 3) -> embedded patches (B, T, N, D)."""
        # Bytes are moved, not the numbers that they become.
        x = settled(patchify(frames, self.patch_size))
        x = ops.cast(x, "float32")
        mean, std = (
            by_pixel(value, self.patch_size)
            for value in (self.pixel_mean, self.pixel_std)
        )
        x = (x / 255.0 - mean) / std
        x = self.patch_embedding(ops.cast(x, self.compute_dtype))
        return x + ops.cast(self.position_embedding, x.dtype)

    def call(self, inputs, frame_mask=None, segments=None, whole=False):
        x = self.embed_patches(inputs)
        if whole:
            return self._encode_whole(x)
        return self.encode(x, frame_mask, segments)

    def _encode_whole(self, x):
        *_, num_images, num_patches, width = x.shape
        x = ops.reshape(x, (-1, num_patches, width))
        wanted = self._run(x, self.blocks)
        x = ops.concatenate([wanted[i] for i in self.feature_layers], axis=-1)
        return ops.reshape(x, (-1, num_images * num_patches, x.shape[-1]))

    def encode(self, x, frame_mask=None, segments=None):
        """Run the blocks on embedded patches (B, T, N, D); see `call`."""
        *_, num_frames, num_patches, width = x.shape
        grid_shape = (-1, num_frames, num_patches, width)
        x = ops.reshape(x, (-1, num_patches, width))
        if not self.prune_ratio or self.merges:
            wanted = self._run_whole(x)
            wanted = {i: ops.reshape(h, grid_shape) for i, h in wanted.items()}
            outputs = {"features": self._join(wanted)}
            return self._with_patch_mask(outputs, num_frames)
        scored = self.prune_layer + 1
        hidden = self._run(x, self.blocks[:scored], {self.prune_layer})
        hidden_scored = ops.reshape(hidden[self.prune_layer], grid_shape)
        similarity = self.similarity(hidden_scored, segments)
        scores, bias = self._rank(hidden_scored, frame_mask, segments)
        selection = self.select(scores, frame_mask, segments)
        x = settled(self.blocks[scored](hidden[self.prune_layer], bias=bias))
        hidden[scored] = x
        late = self.blocks[scored + 1 :]
        if self.refill:
            reach = self._refilled(selection, num_patches, segments)
            hidden |= self._run(
                x, late, attend=functools.partial(attention, reach=reach)
            )
        packed = {
            i: settled(self.packing(ops.reshape(h, grid_shape), selection))
            for i, h in hidden.items()
            if i in self.feature_layers or i == scored
        }
        if not self.refill:
            attend = functools.partial(
                self.packing.attention, layout=self.packing.layout(selection)
            )
            packed |= self._run(packed[scored], late, attend=attend)
        outputs = {
            "features": self._join_packed(packed),
            "selection": selection,
            "scores": scores,
            "similarity": similarity,
        }
        return self._with_patch_mask(outputs, num_frames)

    def _run_whole(self, x):
        """The outputs that are features, of whole frames (B * T, N, D)."""
        if self.prune_ratio:
            return self.method.run(
                self.blocks, x, self.merge_counts, self.feature_layers
            )
        return self._run(x, self.blocks)

    def _rank(self, x, frame_mask=None, segments=None):
        """Scores (B, T, P), and the bias of the attention after them."""
        if not self.uses_scorer:
            scores = self.method(
                self._flat_blocks(x), frame_mask=frame_mask, segments=segments
            )
            bias = self.method.attention_bias(scores, segments=segments)
            if bias is None:
                return scores, None
            bias = spread_to_patches(bias, self.window, self.packing.grid)
        else:
            scores = self.scorer(x, segments=segments)
            bias = self.bias(scores, segments=segments)
        return scores, ops.reshape(bias, (-1, 1, 1, x.shape[2]))

    def _refilled(self, selection, num_patches, segments=None):
        """What later blocks see of whole frames (B * T, N).

        A frame that keeps nothing sees all, so that no row of the softmax is
        empty; nobody reads what it gets.
        """
        kept = spread_to_patches(
            ops.cast(selection.kept, "int32"), self.window, self.packing.grid
        )
        counts = ops.sum(kept, axis=-1)
        whole = alone_in_row(counts, num_patches, segments) | (counts == 0)
        mask = (kept > 0) | whole[..., None]
        return Reach(marked=ops.reshape(mask, (-1, num_patches)))

    def _run(self, x, blocks, also=(), attend=attention):
        """Run blocks; keep the outputs that are features, or `also`."""
        outputs = {}
        for block in blocks:
            x = block(x, attend=attend)
            index = self.blocks.index(block)
            if index in self.feature_layers or index in also:
                x = outputs[index] = settled(x)
        return outputs

    def similarity(self, x, segments=None):
        """Blocks of (B, T, N, D) to those of the frame before: (B, T, P)."""
        return neighbor_similarity(self._flat_blocks(x), segments=segments)

    def _flat_blocks(self, x):
        """(B, T, N, D) -> (B, T, P, g * D), a block's patches side by side."""
        blocks = to_blocks(x, self.window, self.packing.grid)
        *_, num_frames, num_blocks, size, width = blocks.shape
        return ops.reshape(blocks, (-1, num_frames, num_blocks, size * width))

    def _join(self, hidden):
        """Whole frames to features (B, T * P, g, F)."""
        blocks = [
            to_blocks(hidden[i], self.window, self.packing.grid)
            for i in self.feature_layers
        ]
        x = ops.concatenate(blocks, axis=-1)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], *x.shape[3:]))

    def _join_packed(self, packed):
        """Kept patches to features (B, K, g, F)."""
        x = ops.concatenate([packed[i] for i in self.feature_layers], axis=-1)
        size = self.window**2
        return ops.reshape(x, (-1, x.shape[1] // size, size, x.shape[2]))

    def _with_patch_mask(self, outputs, num_frames):
        """Outputs, and which places of their blocks hold patches."""
        mask = block_mask(self.packing.grid, self.window)
        if mask.all():
            return outputs
        if "selection" in outputs:
            mask = self.packing.patch_mask(outputs["selection"])
            return {**outputs, "patch_mask": mask}
        mask = ops.convert_to_tensor(mask.tolist() * num_frames, "bool")
        return {**outputs, "patch_mask": mask[None]}

    def get_config(self):
        return {**super().get_config(), **self._config}
