import functools

import keras
from keras import ops

from keras_stts.ops import attention
from keras_stts.ops import merge_tokens
from keras_stts.ops import pack_blocks
from keras_stts.ops import unmerged


@keras.saving.register_keras_serializable(package="keras_stts")
class ToMe:
    """Token merging: similar patches of a frame become one.

    In every block of the vision encoder, between attention and MLP, some of
    the even patches are merged into the odd ones that their keys are most
    similar to, and merged patches weigh in attention by how many they are.
    Each block merges as many, so that of a frame the share `prune_ratio` is
    gone after the last one, as with the other methods.

    A merged patch has no place in the grid that the connector pools, so each
    patch gets what the one it was merged into became. The connector and the
    language model then see all blocks: as published, ToMe speeds up the
    vision encoder alone, and less than others do, for it merges bit by bit.
    So compare it with them at equal cost (`VideoVLM.flops`), too, not at
    equal ratio alone.

    Reference:
        ToMe (arXiv 2210.09461), without class token, by its constant
        schedule, with proportional attention.
    """

    def run(self, blocks, x, counts, wanted):
        """Run vision blocks on whole frames, merging in each.

        Args:
            blocks: List of `VisionBlock`.
            x: Tensor (rows, N, D), patches of frames.
            counts: Ints, tokens that each block merges, see
                `keras_stts.ops.merge_schedule`.
            wanted: Ints, the blocks whose outputs are returned.

        Returns:
            Dict of block to tensor (rows, N, D).
        """
        merged, outputs = unmerged(x), {}
        for i, (block, count) in enumerate(zip(blocks, counts)):
            bias = ops.log(merged.size)[:, None, None]
            x, merged = block(
                x,
                attend=functools.partial(attention, bias=bias),
                merge=functools.partial(_merge, merged=merged, count=count),
            )
            if i in wanted:
                outputs[i] = pack_blocks(x, merged.place)
        return outputs

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _merge(x, key, merged, count):
    """Tokens (rows, n, D) by the mean of their keys over the heads."""
    return merge_tokens(x, merged, ops.mean(key, axis=2), count)
