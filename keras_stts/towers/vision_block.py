import functools

import keras
from keras import ops

from keras_stts.layers.activations import get_activation
from keras_stts.layers.fused import Dense
from keras_stts.layers.fused import LayerNormalization
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.ops import attention


@keras.saving.register_keras_serializable(package="keras_stts")
class VisionBlock(keras.layers.Layer):
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

    Call arguments:
        inputs: Tensor (rows, n, D).
        attend: Optional function of query, key, value (rows, n, heads,
            head_dim). Defaults to attention within each row.
        merge: Optional function of what attention made of the tokens and of
            their keys, that returns fewer tokens and anything else.
        bias: Optional tensor that `attend` takes as `bias`, and that has a
            gradient. Not together with `merge`.

    Returns:
        Tensor (rows, n, D); with `merge` a tuple of that and of what else
        it returned.
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
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.intermediate_dim = intermediate_dim
        get_activation(activation)
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.rematerialize = rematerialize

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

    def call(self, inputs, attend=attention, merge=None, bias=None):
        remat = keras.remat if self.rematerialize else lambda run: run
        if bias is not None:
            # TensorFlow needs what has a gradient by place.
            return remat(functools.partial(self._biased, attend=attend))(
                inputs, bias
            )
        attended = functools.partial(self._attended, attend=attend)
        if merge is None:
            return remat(lambda x: self._mlp(attended(x)[0]))(inputs)
        x, rest = merge(*remat(attended)(inputs))
        return remat(self._mlp)(x), rest

    def _biased(self, inputs, bias, attend):
        attend = functools.partial(attend, bias=bias)
        return self._mlp(self._attended(inputs, attend)[0])

    def _attended(self, inputs, attend):
        """The first half of the block, and the keys."""
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

    def _mlp(self, x):
        """The second half."""
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
