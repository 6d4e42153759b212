from collections import namedtuple

import keras

from keras_stts.layers import TokenPooler
from keras_stts.layers.activations import get_activation
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.layers.token_pooler import pooling_flops

Costs = namedtuple("Costs", ["flops", "pooled", "hidden"])
Costs.__doc__ = """What a connector takes for a block.

Attributes:
    flops: Int. Floating point operations.
    pooled, hidden: Ints. Numbers that are kept for its gradient, of where
        patches become one, and of the MLP after it.
"""


def connector_costs(
    patches,
    width,
    *,
    num_heads,
    head_dim,
    pooled_dim,
    intermediate_dim,
    output_dim,
):
    """The `Costs` of a `Connector`.

    Args:
        patches: Int g, of a block.
        width: Int F, of the features of a patch.
        **kwargs: Arguments of `Connector`.
    """
    inner = num_heads * head_dim
    projector = 2 * pooled_dim * intermediate_dim
    projector += intermediate_dim * output_dim
    flops = pooling_flops(width, inner, pooled_dim, 1, patches) + 2 * projector
    return Costs(flops, patches * 2 * inner, 3 * intermediate_dim)


@keras.saving.register_keras_serializable(package="keras_stts")
class Connector(keras.layers.Layer):
    """Makes one language model embedding of the patches of a block.

    Args:
        num_heads: Int. Heads of the pooling attention.
        head_dim: Int.
        pooled_dim: Int. Width after pooling.
        intermediate_dim: Int. Width of the gated projector.
        output_dim: Int. Width of the language model.
        activation: Str. Activation of the projector's gate, one of
            `keras_stts.layers.activations`. Defaults to `"silu"`.

    Call arguments:
        inputs: Tensor (B, K, g, F).
        patch_mask: Optional bool tensor broadcast to (B, K, g).

    Returns:
        Tensor (B, K, output_dim).

    Reference:
        Molmo2 (arXiv 2601.10611), the connector.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        pooled_dim,
        intermediate_dim,
        output_dim,
        *,
        activation="silu",
        **kwargs,
    ):
        super().__init__(**{"name": "connector", **kwargs})
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.pooled_dim = pooled_dim
        self.intermediate_dim = intermediate_dim
        self.output_dim = output_dim
        get_activation(activation)
        self.activation = activation
        self.pooler = TokenPooler(
            num_heads,
            head_dim,
            pooled_dim,
            dtype=self.dtype_policy,
            name="pooler",
        )
        self.gate = self._dense(intermediate_dim, "gate")
        self.up = self._dense(intermediate_dim, "up")
        self.down = self._dense(output_dim, "down")

    def _dense(self, units, name):
        return Dense(
            units,
            use_bias=False,
            kernel_initializer=glorot_initializer(),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape, *args, **kwargs):
        self.pooler.build(input_shape)
        pooled = (*input_shape[:-2], self.pooled_dim)
        hidden = (*input_shape[:-2], self.intermediate_dim)
        self.gate.build(pooled)
        self.up.build(pooled)
        self.down.build(hidden)
        self.built = True

    def call(self, inputs, patch_mask=None):
        x = self.pooler(inputs, mask=patch_mask)
        gate = get_activation(self.activation)(self.gate(x))
        return self.down(gate * self.up(x))

    def costs(self, patches, width):
        """What a block takes, see `connector_costs`."""
        return connector_costs(
            patches,
            width,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            pooled_dim=self.pooled_dim,
            intermediate_dim=self.intermediate_dim,
            output_dim=self.output_dim,
        )

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return (*input_shape[:-2], self.output_dim)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_heads": self.num_heads,
                "head_dim": self.head_dim,
                "pooled_dim": self.pooled_dim,
                "intermediate_dim": self.intermediate_dim,
                "output_dim": self.output_dim,
                "activation": self.activation,
            }
        )
        return config
