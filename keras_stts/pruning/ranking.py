import functools

from keras import ops

from keras_stts.kernels.settled import settled
from keras_stts.layers import RaggedPacking
from keras_stts.layers import TokenPruning
from keras_stts.ops import Frames
from keras_stts.ops import Reach
from keras_stts.ops import alone_in_row
from keras_stts.ops import flat_blocks
from keras_stts.ops import neighbor_similarity
from keras_stts.ops import pack_blocks
from keras_stts.ops import spread_to_patches
from keras_stts.ops import to_blocks
from keras_stts.pruning.method import LAYER
from keras_stts.pruning.method import PLACES
from keras_stts.pruning.method import RATIO
from keras_stts.pruning.method import PruningMethod


class Ranking(PruningMethod):
    """Scores the blocks of a video; the highest-scoring stay, and frame 0.

    The base class of ways to prune. To write one, say what `call` gives;
    budgets, padding, several samples a row, training and generation are
    taken care of.

    Args:
        ratio: Optional float in [0, 1). Share of the blocks that are pruned.
            Defaults to the `prune_ratio` of the model, or `0.5`.
        place: Where blocks are scored and pruned. `"vision_encoder"`: inside
            it, so that the rest of it, connector and language model run on
            what stays. `"connector"`: after it, so that only the language
            model does. Defaults to the place of the class.
        layer: Optional int. Vision layer, from 0, whose output is scored. The
            next one is the last to see whole frames. Defaults to the
            `prune_layer` of the model, or `3`.
        refill: Optional bool. Whether the vision encoder gives frames their
            pruned patches back where the published packer does. Weights
            published with STTS were trained so, above all those at 30%; it
            takes as long as not pruning there. Defaults to `False`.

    Call arguments:
        blocks: Float32 tensor (B, T, P, F): in the vision encoder a block's
            patches side by side, after the connector its embedding.
        frames: `keras_stts.ops.Frames`: which frames and blocks are real, and
            which of several videos that share a row a frame belongs to. What
            padding scores does not matter, and it must not matter to what
            others score.

    Returns:
        Tensor (B, T, P), higher is better. Scores are compared within a video
        only. No gradient flows through the choice: what has weights learns by
        `attention_bias`, or by a loss of its own, which `call` adds with
        `self.add_loss`. A preset that was saved with another method has no
        weights for them; they start untrained.

    Examples:
    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Contrast(keras_stts.pruning.Ranking):
        '''Blocks unlike the rest of their frame stay.'''

        place = "connector"

        def __init__(self, power=2, **kwargs):
            super().__init__(**kwargs)
            self.power = power

        def call(self, blocks, frames):
            real = keras.ops.cast(frames.real(blocks), "float32")[..., None]
            total = keras.ops.sum(blocks * real, axis=2, keepdims=True)
            count = keras.ops.sum(real, axis=2, keepdims=True)
            mean = total / keras.ops.maximum(count, 1.0)
            distance = keras.ops.abs(blocks - mean) ** self.power
            return keras.ops.sum(distance, axis=-1)

        def get_config(self):
            return {**super().get_config(), "power": self.power}

    model = keras_stts.VideoVLM.from_preset("shapes_tiny", pruning=Contrast())
    ```

    One that is trained, by a loss of its own and by the answers':
    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Learned(keras_stts.pruning.Ranking):
        '''Foresees how much a block changes.'''

        def build(self, blocks_shape):
            self.dense = keras.layers.Dense(1, activation="sigmoid")
            self.dense.build(blocks_shape)
            self.built = True

        def call(self, blocks, frames):
            scores = self.dense(blocks)[..., 0]
            change = 1 - keras_stts.ops.neighbor_similarity(
                blocks, segments=frames.segments
            )
            error = keras.ops.square(scores - keras.ops.stop_gradient(change))
            real = keras.ops.cast(frames.real(blocks), "float32")
            self.add_loss(keras.ops.sum(error * real) / keras.ops.sum(real))
            return scores

        def attention_bias(self, scores, frames):
            return keras.ops.log(scores)

    model = keras_stts.VideoVLM.from_preset("shapes_tiny", pruning=Learned())
    ```
    """

    prunes_blocks = True

    def __init__(self, ratio=None, *, place=None, layer=None, refill=None):
        super().__init__(ratio)
        if place is not None:
            self.place = place
        if self.place not in PLACES:
            raise ValueError(
                f"`place` must be one of {', '.join(PLACES)}. Received: "
                f"place={place!r}."
            )
        self.layer = layer
        self.refill = refill

    def call(self, blocks, frames=Frames()):
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `call(blocks, frames)`."
        )

    def attention_bias(self, scores, frames=Frames()):
        """What the scores add to attention, by which they learn.

        The choice of blocks has no gradient. A bias of the logits of
        attention to a block's patches, in the vision layer that runs next,
        on all patches, lets the loss of the answers reach what made the
        scores.

        Args:
            scores: Tensor (B, T, P), what `call` returned.
            frames: See `call`.

        Returns:
            Float32 tensor (B, T, P), or `None`, the default, for no bias. Of
            methods whose place is the connector it is not asked.
        """
        return None

    def attach(self, tower, embedding_dim, num_frames, num_segments=1):
        self.settle(ratio=RATIO, layer=LAYER, refill=False)
        self._check(tower)
        self.runs = self.trainable = bool(self.ratio and num_frames)
        self._packing = RaggedPacking(
            tower.window, tower.grid, dtype=tower.dtype_policy
        )
        self._packing.build((None, num_frames, *tower.patches_shape))
        self._select = TokenPruning(self.ratio, num_segments)
        if num_frames:
            self._select.build((None, num_frames, tower.num_blocks))
        inside = self.place == "vision_encoder"
        patches = tower.window**2 * tower.hidden_dim
        width = patches if inside else embedding_dim
        self.build((None, num_frames, tower.num_blocks, width))

    def _check(self, tower):
        inside = self.place == "vision_encoder"
        last = len(tower.blocks) - 2
        if inside and not 0 <= self.layer <= last:
            raise ValueError(
                "The output of `layer` is scored and the vision layer after "
                "it is the last to see whole frames, so `layer` must lie in "
                f"[0, num_layers - 2]. Received: layer={self.layer}, "
                f"num_layers={last + 2}."
            )
        if self.refill and self.ratio and not inside:
            raise ValueError(
                "`refill` is of methods that prune in the vision encoder. "
                f"Received: refill=True, place={self.place!r}. Leave one of "
                "them out."
            )

    def prunes_in(self, place):
        """Whether blocks leave in `"vision_encoder"` or `"connector"`."""
        return self.runs and self.place == place

    def encode(self, tower, x, frames=Frames()):
        if not self.prunes_in("vision_encoder"):
            return super().encode(tower, x, frames)
        shape, scored = (-1, *x.shape[1:]), self.layer + 1
        num_patches = x.shape[2]
        x = ops.reshape(x, (-1, *x.shape[2:]))
        early, next, late = (
            tower.blocks[:scored],
            tower.blocks[scored : scored + 1],
            tower.blocks[scored + 1 :],
        )
        attend = tower.attend_frames(frames, num_patches)
        hidden = tower.run(x, early, also={self.layer}, attend=attend)
        x = hidden[self.layer]
        blocks = flat_blocks(
            to_blocks(ops.reshape(x, shape), tower.window, tower.grid)
        )
        ranked = self._rank(blocks, frames)
        bias = self._bias_of_patches(ranked["scores"], tower, frames)
        hidden |= tower.run(x, next, also={scored}, attend=attend, bias=bias)
        selection = ranked["selection"]
        if self.refill:
            reach = self._refilled(selection, tower, frames)
            attend = tower.attend_frames(frames, num_patches, reach)
            hidden |= tower.run(hidden[scored], late, attend=attend)

        def pack(x):
            return settled(self._packing(ops.reshape(x, shape), selection))

        wanted = {*tower.feature_layers, scored} & set(hidden)
        packed = {i: pack(hidden[i]) for i in sorted(wanted)}
        if not self.refill:
            attend = self._attend_packed(tower, frames, selection, num_patches)
            packed |= tower.run(packed[scored], late, attend=attend)
        mask = self._packing.patch_mask(selection)
        return {**tower.features_of_blocks(packed, mask), **ranked}

    def _attend_packed(self, tower, frames, selection, num_patches):
        """The attention of layers on kept patches."""
        layout = self._packing.layout(
            selection, first_is_whole=frames.grids is None
        )
        attend = functools.partial(self._packing.attention, layout=layout)
        pack = functools.partial(self._packing, selection=selection)
        return tower.attend_packed(attend, pack, frames, num_patches)

    def after_connector(self, vision, frames=Frames()):
        if not self.prunes_in("connector"):
            return vision
        x = vision["embeddings"]
        num_frames = frames.mask.shape[1]
        num_blocks = x.shape[1] // num_frames
        shape = (-1, num_frames, num_blocks, x.shape[-1])
        ranked = self._rank(ops.reshape(x, shape), frames)
        index = ranked["selection"].index
        kept = {"embeddings": pack_blocks(x, index)}
        if "additions" in vision:
            added = [pack_blocks(each, index) for each in vision["additions"]]
            kept["additions"] = added
        return {**vision, **ranked, **kept}

    def _rank(self, blocks, frames):
        """Dict of `"scores"`, `"similarity"` and `"selection"`."""
        scores = self(blocks, frames)
        self._check_shape("call", scores, blocks)
        selection = self._select(
            scores,
            frames.mask,
            frames.segments,
            frame_blocks=frames.num_blocks,
        )
        similarity = neighbor_similarity(blocks, segments=frames.segments)
        return {
            "scores": scores,
            "similarity": similarity,
            "selection": selection,
        }

    def _bias_of_patches(self, scores, tower, frames):
        """The bias of attention to each patch (B * T, 1, 1, N), or `None`."""
        bias = self.attention_bias(scores, frames)
        if bias is None:
            return None
        self._check_shape("attention_bias", bias, scores)
        bias = spread_to_patches(bias, tower.window, tower.grid)
        return ops.reshape(bias, (-1, 1, 1, bias.shape[-1]))

    def _check_shape(self, method, made, like):
        if tuple(made.shape[1:]) != tuple(like.shape[1:3]):
            raise ValueError(
                f"`{type(self).__name__}.{method}` must return a tensor "
                "(B, T, P), a number for each block of each frame. Received: "
                f"shape {tuple(made.shape)}, of T={like.shape[1]}, "
                f"P={like.shape[2]}."
            )

    def _refilled(self, selection, tower, frames):
        """What later layers see of whole frames (B * T, N).

        A frame that keeps nothing sees all, so that no row of the softmax is
        empty; nobody reads what it gets.
        """
        kept = ops.cast(selection.kept, "int32")
        kept = spread_to_patches(kept, tower.window, tower.grid)
        counts, num_patches = ops.sum(kept, axis=-1), kept.shape[-1]
        whole = alone_in_row(counts, num_patches, frames.segments)
        whole = whole | (counts == 0)
        mask = (kept > 0) | whole[..., None]
        return Reach(marked=ops.reshape(mask, (-1, num_patches)))

    def compute_output_shape(self, blocks_shape, *args, **kwargs):
        return blocks_shape[:-1]

    def get_config(self):
        return {
            **super().get_config(),
            "place": self.place,
            "layer": self.layer,
            "refill": self.refill,
        }
