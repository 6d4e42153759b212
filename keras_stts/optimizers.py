"""AdamW with a learning rate for each part of a model."""

import keras

from keras_stts.models.parts import PARTS
from keras_stts.models.parts import part_of


@keras.saving.register_keras_serializable(package="keras_stts")
class PartwiseAdamW(keras.optimizers.AdamW):
    """AdamW with a learning rate for each part of a `VideoVLM`.

    Args:
        learning_rate: Float or schedule, for parts that `multipliers` does
            not name. Defaults to `1e-5`.
        multipliers: Optional dict of part (`"scorer"`, `"vision_encoder"`,
            `"connector"`, `"language_model"`) to the factor of its learning
            rate. Defaults to the paper's: 10 for the scorer, 0.5 for vision
            encoder and connector. Weight decay is the same for all.
        **kwargs: See `keras.optimizers.AdamW`; `beta_2` is 0.95 and
            `clipnorm` 1.0 by default, as in the paper.

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
        kwargs = {"beta_2": 0.95, "clipnorm": 1.0, **kwargs}
        kwargs.setdefault("name", "partwise_adamw")
        super().__init__(learning_rate, **kwargs)
        self.multipliers = dict(multipliers)

    def build(self, variables):
        super().build(variables)
        # TensorFlow hands its own variables to `update_step`.
        self._factors = {
            id(handle): self.multipliers.get(part_of(variable), 1.0)
            for variable in variables
            for handle in (variable, variable.value)
        }

    def update_step(self, gradient, variable, learning_rate):
        factor = self._factors[id(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self):
        return {**super().get_config(), "multipliers": self.multipliers}


def default_learning_rate(hidden_dim):
    """The rate of `PartwiseAdamW` that `VideoVLM.compile` chooses.

    The paper's at the widths of published models; narrower ones, which learn
    nothing by it, get more, by the square of the width, up to Adam's own.

    Args:
        hidden_dim: Int, width of the language model.

    Returns:
        Float.

    Example:

    >>> default_learning_rate(2560), default_learning_rate(96)
    (1e-05, 0.001)
    """
    return min(1e-3, 1e-5 * max(1.0, (2560 / hidden_dim) ** 2))
