import keras
from keras import ops

from keras_stts.layers import TokenPruning
from keras_stts.ops import neighbor_similarity
from keras_stts.ops import pack_blocks
from keras_stts.pruning import get as get_pruning
from keras_stts.pruning import serialize


@keras.saving.register_keras_serializable(package="keras_stts")
class ConnectorPruning(keras.layers.Layer):
    """Ranks what the connector made of all blocks, and takes the best.

    Args:
        pruning: A `keras_stts.pruning.Ranking`, its name or config.
        prune_ratio: Float in (0, 1). Share of the blocks removed.
        num_blocks: Int P. Blocks of a frame.
        num_segments: Int. Most videos of a row, if `segments` are given.

    Call arguments:
        inputs: Tensor (B, T * P, D).
        frame_mask: Bool tensor (B, T), False for padding frames.
        segments: Optional int tensor (B, T): which of several videos that
            share a row a frame belongs to.

    Returns:
        Dict of `"embeddings"` (B, K, D), and of `"selection"`, `"scores"` and
        `"similarity"`, as `VisionEncoder` returns them.
    """

    def __init__(
        self, pruning, prune_ratio, num_blocks, num_segments=1, **kwargs
    ):
        super().__init__(**kwargs)
        self.pruning = serialize(pruning)
        self.method = get_pruning(pruning)
        self.num_blocks = num_blocks
        self.select = TokenPruning(prune_ratio, num_segments, name="select")

    def build(self, input_shape, *args, **kwargs):
        num_frames = input_shape[1] // self.num_blocks
        shape = (None, num_frames, self.num_blocks, input_shape[-1])
        self.method.build(shape)
        self.select.build(shape[:-1])
        self.built = True

    def call(self, inputs, frame_mask, segments=None):
        shape = (-1, frame_mask.shape[1], self.num_blocks, inputs.shape[-1])
        blocks = ops.reshape(inputs, shape)
        scores = self.method(blocks, frame_mask=frame_mask, segments=segments)
        selection = self.select(scores, frame_mask, segments)
        return {
            "embeddings": pack_blocks(inputs, selection.index),
            "selection": selection,
            "scores": scores,
            "similarity": neighbor_similarity(blocks, segments=segments),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "pruning": self.pruning,
            "prune_ratio": self.select.prune_ratio,
            "num_blocks": self.num_blocks,
            "num_segments": self.select.num_segments,
        }
