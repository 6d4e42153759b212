import keras
from keras import ops

from keras_stts.layers import AuxiliaryLoss
from keras_stts.layers import TokenScorer
from keras_stts.layers.token_pooler import pooling_flops
from keras_stts.ops import RESCALE_MIN
from keras_stts.ops import Frames
from keras_stts.ops import rescale_scores
from keras_stts.ops.scoring import check_rescale
from keras_stts.pruning.ranking import Ranking


@keras.saving.register_keras_serializable(package="keras_stts")
class STTS(Ranking):
    """The trained scorer, whose scores also become a bias of attention.

    It learns from neighbouring frames, by `keras_stts.layers.AuxiliaryLoss`,
    and from the loss of the answers, through the bias.

    Args:
        ratio, layer, refill: See `Ranking`.
        place: `"vision_encoder"`, the only place with attention to bias.
        rescale_axis: Optional str, `"row"` or `"frame"`, see
            `keras_stts.layers.ScoreBias`. Defaults to `"row"`.
        rescale_min: Optional float in (0, 1]. What the lowest score becomes.
            Defaults to `exp(-2)`.

    Reference:
        STTS (arXiv 2603.18004).
    """

    def __init__(
        self, ratio=None, *, rescale_axis=None, rescale_min=None, **kwargs
    ):
        super().__init__(ratio, **kwargs)
        if self.place != "vision_encoder":
            raise ValueError(
                "STTS biases the attention of a vision layer, so its place "
                f'is "vision_encoder". Received: place={self.place!r}.'
            )
        self.rescale_axis = rescale_axis
        self.rescale_min = rescale_min
        self.autocast = False  # The scorer casts what it takes itself.

    def attach(self, tower, *args, **kwargs):
        self.settle(rescale_axis="row", rescale_min=RESCALE_MIN)
        check_rescale(self.rescale_axis, self.rescale_min)
        self.block_rows, _ = tower.block_grid
        self.scorer = TokenScorer(
            tower.num_heads,
            tower.intermediate_dim,
            window=tower.window,
            grid=tower.grid,
            aux_coefficient=None,
            dtype=tower.dtype_policy,
            name="scorer",
        )
        super().attach(tower, *args, **kwargs)

    def build(self, blocks_shape):
        self.scorer.build(self._patches_shape(blocks_shape))
        self.built = True

    def call(self, blocks, frames=Frames()):
        blocks = ops.reshape(
            blocks, (-1, *self._patches_shape(blocks.shape)[1:])
        )
        return self.scorer(blocks, segments=frames.segments)

    def _patches_shape(self, blocks_shape):
        *shape, width = blocks_shape
        size = self.scorer.window**2
        return (*shape, size, width // size)

    def attention_bias(self, scores, frames=Frames()):
        scores = rescale_scores(
            scores,
            self.block_rows,
            self.rescale_axis,
            self.rescale_min,
            frames.segments,
            grids=frames.grids,
        )
        return ops.log(scores)

    def auxiliary_loss(self, coefficient, **kwargs):
        if not self.runs or coefficient is None:
            return None
        return AuxiliaryLoss(coefficient, name="auxiliary_loss", **kwargs)

    def flops(self, num_frames, num_blocks, width):
        size, hidden = self.scorer.window**2, self.scorer.mlp.hidden_dim
        width, number = width // size, num_frames * num_blocks
        mlp = 2 * width * hidden + hidden**2 + hidden
        return (
            pooling_flops(width, width, width, number, size) + 2 * number * mlp
        )

    def weight_shapes(self, sizes):
        width = sizes["vision_hidden_dim"]
        hidden = sizes["vision_intermediate_dim"]
        layers = {
            "pooler/query": (width, width),
            "pooler/key": (width, width),
            "pooler/value": (width, width),
            "pooler/output_dense": (width, width),
            "mlp/hidden_1": (2 * width, hidden),
            "mlp/hidden_2": (hidden, hidden),
            "mlp/score": (hidden, 1),
        }
        shapes = {}
        for name, shape in layers.items():
            shapes[f"scorer/{name}/kernel"] = shape
            shapes[f"scorer/{name}/bias"] = shape[1:]
        return shapes

    def get_config(self):
        return {
            **super().get_config(),
            "rescale_axis": self.rescale_axis,
            "rescale_min": self.rescale_min,
        }
