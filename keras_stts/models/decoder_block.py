import keras
import keras_hub
from keras import ops

from keras_stts.models.vision_block import get_activation
from keras_stts.ops import attention
from keras_stts.ops import prefix_attention


@keras.saving.register_keras_serializable(package="keras_stts")
class DecoderBlock(keras.layers.Layer):
    """A Qwen3 decoder block, for a prefix and for what follows it.

    KerasHub's Qwen3 block takes neither positions nor attention both ways.

    Args:
        num_query_heads: Int.
        num_key_value_heads: Int, divides `num_query_heads`.
        head_dim: Int.
        intermediate_dim: Int. Width of the SwiGLU MLP.
        rope_max_wavelength: Number. Base of the rotary embedding.
        layer_norm_epsilon: Float.
        activation: Str.

    Call arguments:
        inputs: Tensor (B, S, D).
        positions: Int tensor (B, S).
        attention_mask: Bool tensor broadcast to (B, 1, S, S2): which keys of
            its own sequence a query may see.
        prefix: Optional tuple (key, value) of a sequence before this one.
        prefix_mask: Bool tensor (B, S1), which of it is real.
        cache: Optional tuple (key, value) of tensors (B, S2, heads,
            head_dim) that new keys and values are written into.
        cache_index: Int scalar tensor, where they are written.
        keys_only: Bool. If True, only key and value are computed.

    Returns:
        Tuple (outputs, key, value): outputs (B, S, D), and this block's keys
        and values, (B, S2, key-value heads, head_dim); with `keys_only` the
        tuple (key, value).

    Reference:
        Qwen3 (arXiv 2505.09388).
    """

    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        intermediate_dim,
        rope_max_wavelength=5000000.0,
        layer_norm_epsilon=1e-6,
        activation="silu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.intermediate_dim = intermediate_dim
        self.rope_max_wavelength = rope_max_wavelength
        self.layer_norm_epsilon = layer_norm_epsilon
        self.activation = activation

    def build(self, input_shape, *args, **kwargs):
        width = input_shape[-1]
        queries = self.num_query_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        hidden = self.intermediate_dim
        self.attention_norm = self._norm("attention_norm", width)
        self.query = self._dense("query", width, queries)
        self.key = self._dense("key", width, keys)
        self.value = self._dense("value", width, keys)
        self.query_norm = self._norm("query_norm", self.head_dim)
        self.key_norm = self._norm("key_norm", self.head_dim)
        self.attention_output = self._dense("attention_output", queries, width)
        self.mlp_norm = self._norm("mlp_norm", width)
        self.mlp_gate = self._dense("mlp_gate", width, hidden)
        self.mlp_up = self._dense("mlp_up", width, hidden)
        self.mlp_down = self._dense("mlp_down", hidden, width)
        self.rotary_embedding = keras_hub.layers.RotaryEmbedding(
            max_wavelength=self.rope_max_wavelength,
            dtype=self.dtype_policy,
            name="rotary_embedding",
        )
        self.built = True

    def _norm(self, name, width):
        layer = keras.layers.RMSNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, width))
        return layer

    def _dense(self, name, width, units):
        layer = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, width))
        return layer

    def call(
        self,
        inputs,
        positions,
        attention_mask=None,
        prefix=None,
        prefix_mask=None,
        cache=None,
        cache_index=None,
        keys_only=False,
    ):
        x = self.attention_norm(inputs)
        key = self._heads(self.key(x), self.num_key_value_heads)
        key = self._rotate(self.key_norm(key), positions)
        value = self._heads(self.value(x), self.num_key_value_heads)
        if cache is not None:
            start = [0, cache_index, 0, 0]
            key = ops.slice_update(cache[0], start, key)
            value = ops.slice_update(cache[1], start, value)
        if keys_only:
            return key, value
        query = self._heads(self.query(x), self.num_query_heads)
        query = self._rotate(self.query_norm(query), positions)
        if prefix is None:
            out = attention(query, key, value, mask=attention_mask)
        else:
            out = prefix_attention(
                query, prefix, key, value, prefix_mask, attention_mask
            )
        joined = (-1, inputs.shape[1], self.num_query_heads * self.head_dim)
        x = inputs + self.attention_output(ops.reshape(out, joined))
        return x + self._mlp(self.mlp_norm(x)), key, value

    def _mlp(self, x):
        gate = get_activation(self.activation)(self.mlp_gate(x))
        return self.mlp_down(gate * self.mlp_up(x))

    def _heads(self, x, heads):
        return ops.reshape(x, (-1, x.shape[1], heads, self.head_dim))

    def _rotate(self, x, positions):
        return self.rotary_embedding(x, positions=positions)

    def compute_output_spec(
        self, inputs, positions, cache=None, keys_only=False, **kwargs
    ):
        batch, length, _ = inputs.shape
        shape = (batch, length, self.num_key_value_heads, self.head_dim)
        if cache is not None:
            shape = cache[0].shape
        key, value = (
            keras.KerasTensor(shape, dtype=self.compute_dtype) for _ in range(2)
        )
        if keys_only:
            return key, value
        outputs = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        return outputs, key, value

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_query_heads": self.num_query_heads,
                "num_key_value_heads": self.num_key_value_heads,
                "head_dim": self.head_dim,
                "intermediate_dim": self.intermediate_dim,
                "rope_max_wavelength": self.rope_max_wavelength,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "activation": self.activation,
            }
        )
        return config
