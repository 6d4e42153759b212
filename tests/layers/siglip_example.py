"""STTS in a vision transformer that knows nothing of it: KerasHub's SigLIP."""

import functools

import keras
from keras import ops

from keras_stts.layers import RaggedPacking
from keras_stts.layers import ScoreBias
from keras_stts.layers import TokenPruning
from keras_stts.layers import TokenScorer
from keras_stts.ops import attention


def run_block(block, x, attend):
    """A SigLIP block, attending as `attend` says."""
    heads = block.self_attn
    y = block.layer_norm1(x)
    y = attend(heads.query_dense(y), heads.key_dense(y), heads.value_dense(y))
    x = x + heads.output_dense(y)
    return x + block.mlp(block.layer_norm2(x))


class PrunedBlocks(keras.layers.Layer):
    """Transformer blocks, built, that prune a video's patches on their way.

    Takes patches (B, T, N, D); returns those that stay (B, K * g, D), and the
    `Selection` that tells which they are.
    """

    def __init__(self, blocks, prune_ratio, prune_layer=3, window=3):
        super().__init__()
        self.early = blocks[: prune_layer + 1]  # These see whole frames,
        self.biased = blocks[prune_layer + 1]  # this one with a bias,
        self.late = blocks[prune_layer + 2 :]  # these what is left.
        self.scorer = TokenScorer(
            blocks[0].num_heads, blocks[0].intermediate_dim, window
        )
        self.bias = ScoreBias(window)
        self.prune = TokenPruning(prune_ratio)
        self.packing = RaggedPacking(window)

    def call(self, patches, frame_mask=None):
        _, num_frames, num_patches, width = patches.shape
        grid = (-1, num_frames, num_patches, width)
        x = ops.reshape(patches, (-1, num_patches, width))
        for block in self.early:
            x = block(x)
        scores = self.scorer(ops.reshape(x, grid), frame_mask=frame_mask)
        bias = ops.reshape(self.bias(scores), (-1, 1, 1, num_patches))
        x = run_block(self.biased, x, functools.partial(attention, bias=bias))
        selection = self.prune(scores, frame_mask=frame_mask)
        x = self.packing(ops.reshape(x, grid), selection)
        layout = self.packing.layout(selection)
        attend = functools.partial(self.packing.attention, layout=layout)
        for block in self.late:
            x = run_block(block, x, attend)
        return x, selection
