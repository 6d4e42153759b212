import keras
from keras import ops

from keras_stts.ops import auxiliary_loss
from keras_stts.ops import replicas
from keras_stts.ops.scoring import frame_pairs


def is_traced(tensor):
    """Whether a tensor is symbolic, without a value."""
    if keras.config.backend() == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(tensor)
    return False


@keras.saving.register_keras_serializable(package="keras_stts")
class AuxiliaryLoss(keras.layers.Layer):
    """Adds the temporal auxiliary loss of STTS to a model's loss.

    The layer returns its first input unchanged, so that it can be part of the
    graph from the scores to a model's outputs.

    Args:
        coefficient: Float, or a schedule: a function of the number of
            training steps so far, such as
            `keras.optimizers.schedules.PolynomialDecay`. Defaults to `0.5`.
        stop_gradient_target: Bool. Whether to stop the gradient at the
            target, `1 - similarity`. Defaults to `False`, as in the published
            code.

    Call arguments:
        inputs: Tensor (or structure of tensors) of any shape.
        scores: Tensor (B, T, P) in (0, 1).
        similarity: Tensor (B, T, P), from
            `keras_stts.ops.neighbor_similarity`.
        frame_mask: Optional bool tensor (B, T), False for padding frames.
        segments: Optional int tensor (B, T): the number of each frame's
            video in rows that several videos share, see
            `keras_stts.ops.select_blocks`.
        frame_blocks: Optional int tensor (B, T): how many blocks each frame
            has, see `keras_stts.ops.select_blocks`.

    Returns:
        `inputs`.

    Attributes:
        value: The mean squared error of the last eager call, without the
            coefficient; `None` before the first.
        last: Tuple of the mean squared error of the last call, eager or
            traced, and the number of frames over which it is the mean: those
            with a previous frame.

    Example:
    ```python
    scores = np.array([[[0.5], [0.75]]])  # One video, two frames, one block.
    similarity = np.array([[[0.0], [0.5]]])
    layer = keras_stts.layers.AuxiliaryLoss(coefficient=0.5)
    layer(scores, scores, similarity)
    float(layer.losses[0])  # 0.5 * (0.75 - 0.5) ** 2 = 0.03125
    ```

    Reference:
        STTS (arXiv 2603.18004), temporal auxiliary loss.
    """

    def __init__(
        self, coefficient=0.5, *, stop_gradient_target=False, **kwargs
    ):
        # The scores stay in float32 whatever the layer's policy is.
        super().__init__(autocast=False, **kwargs)
        if isinstance(coefficient, dict):
            coefficient = keras.saving.deserialize_keras_object(coefficient)
        if not callable(coefficient) and not coefficient >= 0:
            raise ValueError(
                "`coefficient` must be a number of at least 0 or a schedule. "
                f"Received: coefficient={coefficient}."
            )
        self.coefficient = coefficient
        self.stop_gradient_target = stop_gradient_target
        self.iterations = None
        self.value = None
        self.last = (None, None)

    def build(self, *args, **kwargs):
        if callable(self.coefficient):
            # Replicas count for themselves: they must not wait for each other
            # before all losses of a step are added.
            self.iterations = keras.Variable(
                "zeros",
                shape=(),
                dtype="int32",
                trainable=False,
                name="iterations",
                aggregation="only_first_replica",
                synchronization="on_read",
            )
        self.built = True

    def call(
        self,
        inputs,
        scores,
        similarity,
        frame_mask=None,
        segments=None,
        frame_blocks=None,
        training=None,
    ):
        value = auxiliary_loss(
            scores,
            similarity,
            frame_mask,
            stop_gradient_target=self.stop_gradient_target,
            segments=segments,
            frame_blocks=frame_blocks,
        )
        coefficient = self.coefficient
        if callable(coefficient):
            coefficient = ops.cast(coefficient(self.iterations), "float32")
            if training:
                self.iterations.assign(self.iterations + 1)
        mean = replicas.in_mean_of_all(value, "frames")
        self.add_loss(coefficient * mean)
        pairs = ops.sum(frame_pairs(scores, frame_mask, segments))
        self.last = (ops.stop_gradient(value), pairs)
        if not is_traced(value):
            self.value, _ = self.last
        return inputs

    def compute_output_spec(self, inputs, *args, **kwargs):
        return keras.tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), inputs
        )

    def load_own_variables(self, store):
        # Weights saved without a schedule load into a layer with one, which
        # then starts at step 0.
        if self.iterations is not None and len(store.keys()):
            super().load_own_variables(store)

    def get_config(self):
        config = super().get_config()
        config.pop("autocast", None)
        coefficient = self.coefficient
        if callable(coefficient):
            coefficient = keras.saving.serialize_keras_object(coefficient)
        config.update(
            {
                "coefficient": coefficient,
                "stop_gradient_target": self.stop_gradient_target,
            }
        )
        return config
