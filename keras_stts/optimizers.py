"""AdamW with a learning rate for each part of a model."""

import keras
from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts._hub_compat import ClippingByVariable
from keras_stts.ops import replicas
from keras_stts.training.parts import PARTS
from keras_stts.training.parts import part_of

__all__ = [
    "PartwiseAdamW",
    "default_learning_rate",
]


@keras.saving.register_keras_serializable(package="keras_stts")
class PartwiseAdamW(ClippingByVariable, keras.optimizers.AdamW):
    """AdamW with a learning rate for each part of a `VideoVLM`.

    Args:
        learning_rate: Float or schedule, for parts that `multipliers` does
            not name. Defaults to `1e-5`.
        multipliers: Optional dict of part (`"scorer"`, `"vision_encoder"`,
            `"connector"`, `"language_model"`) to the factor of its learning
            rate. Defaults to the paper's: 10 for the scorer, 0.5 for vision
            encoder and connector. Weight decay is the same for all.
        clipnorm: Optional float. Each part's gradients are clipped together
            to this norm, as in the published training. (Keras' own `clipnorm`
            clips each variable separately.) Defaults to `1.0`,
            unless `global_clipnorm` or `clipvalue` is given.
        **kwargs: See `keras.optimizers.AdamW`; `beta_2` is 0.95 by default,
            as in the paper.

    Raises:
        ValueError: If `multipliers` names an unknown part.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=6050, warmup_target=1e-5, warmup_steps=200
    )
    model.compile(optimizer=keras_stts.optimizers.PartwiseAdamW(rate))
    ```

    Reference:
        STTS (arXiv 2603.18004), training recipe.
    """

    def __init__(self, learning_rate=1e-5, multipliers=None, **kwargs):
        if multipliers is None:
            multipliers = {
                "scorer": 10.0,
                "vision_encoder": 0.5,
                "connector": 0.5,
            }
        unknown = sorted(set(multipliers) - set(PARTS))
        if unknown:
            raise ValueError(
                f"`multipliers` may name the parts {', '.join(PARTS)}. "
                f"Received: {', '.join(unknown)}."
            )
        defaults = {"beta_2": 0.95, "name": "partwise_adamw", "clipnorm": 1.0}
        if kwargs.get("global_clipnorm") or kwargs.get("clipvalue"):
            defaults.pop("clipnorm")
        kwargs = {**defaults, **kwargs}
        super().__init__(learning_rate, **kwargs)
        self.multipliers = dict(multipliers)

    def build(self, variables):
        super().build(variables)
        self._factors = [
            self.multipliers.get(part_of(variable), 1.0)
            for variable in variables
        ]

    def clip_gradients(self, grads, variables):
        if not self.clipnorm:
            return super().clip_gradients(grads, variables)
        parts = [part_of(variable) for variable in variables]
        grads = replicas.summed([_dense(gradient) for gradient in grads])
        scales = {
            part: _scale(
                [g for g, p in zip(grads, parts) if p == part],
                self.clipnorm,
            )
            for part in set(parts)
        }
        return [
            replicas.part_of_sum(gradient * ops.cast(scale, gradient.dtype))
            for gradient, scale in zip(grads, map(scales.get, parts))
        ]

    def update_step(self, gradient, variable, learning_rate):
        # TensorFlow hands its own variables here, of each device.
        factor = self._factors[hub.variable_index(self, variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self):
        return {**super().get_config(), "multipliers": self.multipliers}


def default_learning_rate(hidden_dim):
    """The learning rate that `VideoVLM.compile` chooses for `PartwiseAdamW`.

    It is the paper's rate, 1e-5, for models as wide as the published ones.
    Narrower models learn nothing with it: their rate grows with the inverse
    square of the width, up to 1e-3, Adam's default.

    Args:
        hidden_dim: Int, width of the language model.

    Returns:
        Float.

    Example:

    >>> default_learning_rate(2560), default_learning_rate(96)
    (1e-05, 0.001)
    """
    return min(1e-3, 1e-5 * max(1.0, (2560 / hidden_dim) ** 2))


def _dense(gradient):
    """Make TensorFlow's sparse gradient of an embedding dense."""
    if hasattr(gradient, "indices") and hasattr(gradient, "dense_shape"):
        import tensorflow as tf

        return tf.convert_to_tensor(gradient)
    return gradient


def _scale(grads, clipnorm):
    """The factor that limits the joint norm of gradients."""
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in grads]
    norm = ops.sqrt(ops.sum(ops.stack(squares)))
    return clipnorm / ops.maximum(norm, clipnorm)
