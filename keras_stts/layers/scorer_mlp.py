import keras
from keras import ops

from keras_stts.layers.auxiliary_loss import AuxiliaryLoss
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import scorer_initializer
from keras_stts.ops import concat_previous_frame
from keras_stts.ops import neighbor_similarity


@keras.saving.register_keras_serializable(package="keras_stts")
class ScorerMLP(keras.layers.Layer):
    """Scores pooled blocks from their own and the previous frame.

    Args:
        hidden_dim: Int. Width of the two hidden layers; STTS takes the MLP
            width of the vision transformer.
        aux_coefficient: Float, schedule or `None`. Weight of the temporal
            auxiliary loss, which the layer adds to the model's; `None` adds
            none. See `keras_stts.layers.AuxiliaryLoss`. Defaults to `0.5`.
        stop_gradient_target: Bool. See `keras_stts.layers.AuxiliaryLoss`.

    Call arguments:
        inputs: Tensor (B, T, P, D), one vector for each block.
        features: Optional tensor (B, T, P, F), by which the auxiliary loss
            compares neighbouring frames. Defaults to `inputs`.
        frame_mask: Optional bool tensor (B, T), False for padding frames,
            which the loss leaves out.
        segments: Optional int tensor (B, T): the number of each frame's
            video in rows that several videos share, see
            `keras_stts.ops.select_blocks`.

    Returns:
        Float32 tensor (B, T, P) in (0, 1).

    Example:
    ```python
    pooled = np.random.rand(1, 4, 9, 16)
    scorer = keras_stts.layers.ScorerMLP(hidden_dim=32)
    scores = scorer(pooled)
    scores.shape  # (1, 4, 9)
    len(scorer.losses)  # 1
    ```

    Reference:
        STTS (arXiv 2603.18004), the token scorer.
    """

    def __init__(
        self,
        hidden_dim,
        aux_coefficient=0.5,
        *,
        stop_gradient_target=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.stop_gradient_target = stop_gradient_target
        self.auxiliary_loss = None
        if aux_coefficient is not None:
            self.auxiliary_loss = AuxiliaryLoss(
                aux_coefficient,
                stop_gradient_target=stop_gradient_target,
                name="auxiliary_loss",
            )

    def build(self, input_shape, *args, **kwargs):
        if len(input_shape) != 4:
            raise ValueError(
                "`ScorerMLP` takes blocks of shape (videos, frames, blocks, "
                f"width). Received: shape {tuple(input_shape)}."
            )
        widths = [2 * input_shape[-1], self.hidden_dim, self.hidden_dim]
        hidden = {
            "units": self.hidden_dim,
            "activation": "silu",
            "dtype": self.dtype_policy,
        }
        self.hidden_1 = _dense("hidden_1", **hidden)
        self.hidden_2 = _dense("hidden_2", **hidden)
        # In bfloat16 many of a video's scores would be equal.
        self.score = _dense("score", units=1, dtype="float32")
        for layer, width in zip(
            (self.hidden_1, self.hidden_2, self.score), widths
        ):
            layer.build((None, width))
        if self.auxiliary_loss is not None:
            self.auxiliary_loss.build()
        self.built = True

    def call(self, inputs, features=None, frame_mask=None, segments=None):
        pairs = concat_previous_frame(inputs, segments)
        x = self.hidden_2(self.hidden_1(pairs))
        scores = ops.sigmoid(ops.squeeze(self.score(x), -1))
        if self.auxiliary_loss is None:
            return scores
        features = inputs if features is None else features
        similarity = neighbor_similarity(features, segments=segments)
        return self.auxiliary_loss(
            scores, scores, similarity, frame_mask, segments
        )

    def compute_output_spec(
        self, inputs, features=None, frame_mask=None, segments=None
    ):
        return keras.KerasTensor(inputs.shape[:-1], dtype="float32")

    def get_config(self):
        config = super().get_config()
        aux = self.auxiliary_loss
        config.update(
            {
                "hidden_dim": self.hidden_dim,
                "aux_coefficient": aux and aux.get_config()["coefficient"],
                "stop_gradient_target": self.stop_gradient_target,
            }
        )
        return config


def _dense(name, **kwargs):
    return Dense(kernel_initializer=scorer_initializer(), name=name, **kwargs)
