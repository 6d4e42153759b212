import keras
from keras import ops

from keras_stts.layers.activations import get_activation
from keras_stts.layers.fused import Dense
from keras_stts.layers.fused import LayerNormalization
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.towers.tower_block import TowerBlock


@keras.saving.register_keras_serializable(package="keras_stts")
class VisionBlock(TowerBlock):
    """A pre-norm vision transformer block that leaves attention open.

    Args:
        num_heads: Int. Number of attention heads.
        head_dim: Int. Width of a head.
        intermediate_dim: Int. Width of the MLP.
        activation: Str. Activation of the MLP, one of
            `keras_stts.layers.activations`.
        layer_norm_epsilon: Float.
        rematerialize: Bool. Whether training computes the block again for
            its gradient instead of keeping what is inside of it.

    Call arguments, returns: See `keras_stts.towers.TowerBlock`.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        intermediate_dim,
        activation="gelu_pytorch_tanh",
        layer_norm_epsilon=1e-6,
        *,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(rematerialize=rematerialize, **kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.intermediate_dim = intermediate_dim
        get_activation(activation)
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape, *args, **kwargs):
        width = input_shape[-1]
        inner = self.num_heads * self.head_dim
        self.attention_norm = self._norm("attention_norm", width)
        self.query = self._dense("query", width, inner)
        self.key = self._dense("key", width, inner)
        self.value = self._dense("value", width, inner)
        self.attention_output = self._dense("attention_output", inner, width)
        self.mlp_norm = self._norm("mlp_norm", width)
        self.mlp_up = self._dense("mlp_up", width, self.intermediate_dim)
        self.mlp_down = self._dense("mlp_down", self.intermediate_dim, width)
        self.built = True

    def _norm(self, name, width):
        layer = LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, width))
        return layer

    def _dense(self, name, width, units):
        layer = Dense(
            units,
            kernel_initializer=glorot_initializer(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, width))
        return layer

    def attended(self, inputs, attend):
        x = self.attention_norm(inputs)
        heads = (-1, x.shape[1], self.num_heads, self.head_dim)
        key = ops.reshape(self.key(x), heads)
        out = attend(
            ops.reshape(self.query(x), heads),
            key,
            ops.reshape(self.value(x), heads),
        )
        joined = (-1, x.shape[1], self.num_heads * self.head_dim)
        return inputs + self.attention_output(ops.reshape(out, joined)), key

    def mlp(self, x):
        hidden = get_activation(self.activation)(self.mlp_up(self.mlp_norm(x)))
        return x + self.mlp_down(hidden)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_heads": self.num_heads,
                "head_dim": self.head_dim,
                "intermediate_dim": self.intermediate_dim,
                "activation": self.activation,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "rematerialize": self.rematerialize,
            }
        )
        return config
