import functools

import keras
from keras import ops

from keras_stts.ops import Frames
from keras_stts.ops import merge_schedule
from keras_stts.ops import merge_tokens
from keras_stts.ops import pack_blocks
from keras_stts.ops.merging import merge_quotas
from keras_stts.pruning.method import RATIO
from keras_stts.pruning.method import PruningMethod

PLACE = "place"


class Merging(PruningMethod):
    """Merges patches of a frame in every layer of the vision encoder.

    The base class of ways to merge: `merge` says how. Each layer merges as
    many, so that of a frame the share `ratio` is gone after the last
    one; merged patches weigh in attention by how many they are. A merged
    patch has no place in the grid that the connector pools, so each patch
    gets what the one it was merged into became, and the connector and the
    language model see all blocks.

    Args:
        ratio: Optional float in [0, 1). Defaults to the `prune_ratio` of the
            model, or `0.5`.

    Example:
    ```python
    @keras.saving.register_keras_serializable("my_project")
    class MergeByFeatures(keras_stts.pruning.Merging):
        '''Patches of similar features become one.'''

        def merge(self, x, key, merged, count):
            return keras_stts.ops.merge_tokens(x, merged, x, count)

    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", pruning=MergeByFeatures()
    )
    ```
    """

    def attach(self, tower, embedding_dim, num_frames, num_segments=1):
        self.settle(ratio=RATIO)
        self.runs = self.trainable = bool(self.ratio and num_frames)
        num_patches, width = tower.patches_shape
        merge_schedule(num_patches, len(tower.blocks), self.ratio)  # Checks.
        self.build((None, num_patches, width))

    def encode(self, tower, x, frames=Frames()):
        if not self.ratio:
            return super().encode(tower, x, frames)
        shape = (-1, *x.shape[1:])
        x = ops.reshape(x, (-1, *x.shape[2:]))
        outputs = self.run(tower, x, frames)
        place = outputs.pop(PLACE, None)
        outputs = {i: ops.reshape(h, shape) for i, h in outputs.items()}
        vision = tower.features_of_frames(outputs)
        if place is not None:
            vision[PLACE] = ops.reshape(place, shape[:-1])
        return vision

    def merge(self, x, key, merged, count):
        """Merge tokens between the attention of a layer and its MLP.

        Args:
            x: Tensor (rows, n, D), what attention made of the tokens.
            key: Tensor (rows, n, heads, head_dim), their keys.
            merged: `keras_stts.ops.Merged`, what the tokens stand for.
            count: Int, how many fewer tokens there are to be.

        Returns:
            Tuple (x, merged) of n - count tokens, such as
            `keras_stts.ops.merge_tokens` returns.
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `merge(x, key, merged, "
            "count)`."
        )

    def run(self, tower, x, frames):
        """Run the layers of a tower on whole frames, merging in each.

        Args:
            tower: A `keras_stts.towers.VisionTower`.
            x: Tensor (B * T, N, D), patches of frames.
            frames: `keras_stts.ops.Frames`.

        Returns:
            Dict of the number of a layer to its output (B * T, N, D), for
            `tower.feature_layers`; and of `"place"` to the last `place` of
            `keras_stts.ops.Merged`, which pictures show.
        """
        merged, outputs = tower.start_merging(x, frames), {}
        counts = merge_schedule(x.shape[1], len(tower.blocks), self.ratio)
        quotas = self._quotas(frames, tower)
        for i, block in enumerate(tower.blocks):
            merged = merged._replace(most=quotas[i])
            left = x.shape[1] - counts[i]
            x, merged = block(
                x,
                attend=tower.attend_merged(merged),
                merge=functools.partial(
                    self.merge, merged=merged, count=counts[i]
                ),
            )
            self._check_count(left, x, merged)
            if i in tower.feature_layers:
                outputs[i] = pack_blocks(x, merged.place)
        return {**outputs, PLACE: merged.place}

    def _check_count(self, wanted, x, merged):
        if not wanted == x.shape[1] == merged.size.shape[1]:
            raise ValueError(
                f"`{type(self).__name__}.merge` must leave n - count tokens, "
                f"here {wanted}, and say what they stand for. Received: "
                f"{x.shape[1]} tokens, and {merged.size.shape[1]} sizes. "
                "`keras_stts.ops.merge_tokens` makes both."
            )

    def _quotas(self, frames, tower):
        """Most tokens of each frame that each layer merges, or `None`."""
        if frames.grids is None:
            return [None] * len(tower.blocks)
        number = ops.reshape(frames.num_blocks, (-1, 1)) * tower.window**2
        most, _ = tower.patches_shape
        return merge_quotas(number, most, len(tower.blocks), self.ratio)


@keras.saving.register_keras_serializable(package="keras_stts")
class ToMe(Merging):
    """Token merging: similar patches of a frame become one.

    In every layer of the vision encoder, between attention and MLP, some of
    the even patches are merged into the odd ones that their keys are most
    similar to. As published, ToMe speeds up the vision encoder alone, and
    less than others do, for it merges bit by bit. So compare it with them at
    equal cost (`VideoVLM.flops`), too, not at equal ratio alone.

    Reference:
        ToMe (arXiv 2210.09461), without class token, by its constant
        schedule, with proportional attention.
    """

    def merge(self, x, key, merged, count):
        return merge_tokens(x, merged, ops.mean(key, axis=2), count)
