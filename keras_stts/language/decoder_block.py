import functools

import keras
from keras import ops

from keras_stts.language.rope import RotaryEmbedding
from keras_stts.layers.activations import get_activation
from keras_stts.layers.fused import Dense
from keras_stts.layers.fused import RMSNormalization
from keras_stts.layers.initializers import normal_initializer
from keras_stts.ops import attention
from keras_stts.ops.places import write_at


@keras.saving.register_keras_serializable(package="keras_stts")
class DecoderBlock(keras.layers.Layer):
    """A decoder layer of Qwen3 or OLMo-3 that takes attention as a function.

    KerasHub's layers take neither positions nor bidirectional attention.

    Args:
        num_query_heads: Int.
        num_key_value_heads: Int, divides `num_query_heads`.
        head_dim: Int.
        intermediate_dim: Int. Width of the SwiGLU MLP.
        rope_max_wavelength: Number. Base of the rotary embedding.
        layer_norm_epsilon: Float.
        activation: Str, one of `keras_stts.layers.activations`.
        query_key_norm: `"head"` normalises each head by itself (Qwen3),
            `"all"` all heads together (OLMo).
        norm_after: Bool. Whether attention and MLP are normalised after they
            run (OLMo-2, -3) instead of before.
        attention_bias: Bool. Whether query, key and value have a bias.
        rope_scaling: Optional dict, see `keras_stts.language.rope`.
        rope_sections: Optional three ints, see `keras_stts.language.rope`.
        rematerialize: Bool. Whether training computes the layer again for its
            gradient instead of keeping its intermediate values.

    Call arguments:
        inputs: Tensor (B, S, D).
        positions: Int tensor (B, S), or (B, S, 3) with `rope_sections`.
        attend: Function of query (B, S, heads, head_dim), key and value
            (B, S2, key-value heads, head_dim) and the tensors of `context`,
            which returns a tensor of the shape of the query. Defaults to
            bidirectional attention.
        context: Tuple of further tensors for `attend`, with gradients.
        cache: Optional tuple (key, value, index): tensors (B, S2, key-value
            heads, head_dim) and an int scalar tensor. The keys and values of
            `inputs` are written into them, from `index` on, before `attend`.

    Returns:
        Tuple (outputs, key, value): outputs (B, S, D), and the keys and values
        that `attend` took.

    Reference:
        Qwen3 (arXiv 2505.09388), OLMo 2 (arXiv 2501.00656).
    """

    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        intermediate_dim,
        *,
        rope_max_wavelength=5000000.0,
        layer_norm_epsilon=1e-6,
        activation="silu",
        query_key_norm="head",
        norm_after=False,
        attention_bias=False,
        rope_scaling=None,
        rope_sections=None,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if query_key_norm not in ("head", "all"):
            raise ValueError(
                '`query_key_norm` must be "head" or "all". Received: '
                f"query_key_norm={query_key_norm!r}."
            )
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                "`num_key_value_heads` must divide `num_query_heads`. "
                f"Received: num_query_heads={num_query_heads}, "
                f"num_key_value_heads={num_key_value_heads}."
            )
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.intermediate_dim = intermediate_dim
        self.rope_max_wavelength = rope_max_wavelength
        self.layer_norm_epsilon = layer_norm_epsilon
        get_activation(activation)
        self.activation = activation
        self.query_key_norm = query_key_norm
        self.norm_after = norm_after
        self.attention_bias = attention_bias
        self.rope_scaling = rope_scaling
        self.rope_sections = rope_sections
        self.rematerialize = rematerialize
        self.rotary_embedding = RotaryEmbedding(
            head_dim,
            rope_max_wavelength,
            rope_scaling,
            rope_sections,
            dtype=self.dtype_policy,
            name="rotary_embedding",
        )

    def build(self, input_shape, *args, **kwargs):
        width = input_shape[-1]
        queries = self.num_query_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        hidden = self.intermediate_dim
        bias = self.attention_bias
        self.attention_norm = self._norm("attention_norm", width)
        self.query = self._dense("query", width, queries, bias=bias)
        self.key = self._dense("key", width, keys, bias=bias)
        self.value = self._dense("value", width, keys, bias=bias)
        if self.query_key_norm == "head":
            queries_normed = keys_normed = self.head_dim
        else:
            queries_normed, keys_normed = queries, keys
        self.query_norm = self._norm("query_norm", queries_normed)
        self.key_norm = self._norm("key_norm", keys_normed)
        self.attention_output = self._dense("attention_output", queries, width)
        self.mlp_norm = self._norm("mlp_norm", width)
        self.mlp_gate = self._dense("mlp_gate", width, hidden)
        self.mlp_up = self._dense("mlp_up", width, hidden)
        self.mlp_down = self._dense("mlp_down", hidden, width)
        self.built = True

    def _norm(self, name, width):
        layer = RMSNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, width))
        return layer

    def _dense(self, name, width, units, *, bias=False):
        layer = Dense(
            units,
            use_bias=bias,
            kernel_initializer=normal_initializer(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, width))
        return layer

    def call(self, inputs, positions, attend=attention, context=(), cache=None):
        run = functools.partial(
            self._run, positions=positions, attend=attend, cache=cache
        )
        if self.rematerialize and cache is None:
            # TensorFlow needs positional arguments for gradients.
            run = keras.remat(run)
        return run(inputs, *context)

    def _run(self, inputs, *context, positions, attend, cache):
        x = self._attention_inputs(inputs)
        key, value = self._keys_and_values(x, positions)
        if cache is not None:
            *earlier, index = cache
            key = write_at(earlier[0], index, key)
            value = write_at(earlier[1], index, value)
        query = self._rotated(self._queries(x), positions)
        out = attend(query, key, value, *context)
        joined = (-1, inputs.shape[1], self.num_query_heads * self.head_dim)
        out = self.attention_output(ops.reshape(out, joined))
        if self.norm_after:
            x = inputs + self.attention_norm(out)
            x = x + self.mlp_norm(self._mlp(x))
        else:
            x = inputs + out
            x = x + self._mlp(self.mlp_norm(x))
        return x, key, value

    def keys_and_values(self, inputs, positions):
        """Keys and values of tokens whose outputs are not needed."""
        return self._keys_and_values(self._attention_inputs(inputs), positions)

    def query_of(self, inputs, positions=None):
        """Queries (B, S, heads, head_dim), rotated if positions are given."""
        query = self._queries(self._attention_inputs(inputs))
        return query if positions is None else self._rotated(query, positions)

    def plain_keys(self, inputs):
        """Keys (B, S, key-value heads, head_dim) that are not rotated."""
        return self._normed(
            self.key(self._attention_inputs(inputs)), self.key_norm
        )

    def _attention_inputs(self, inputs):
        return inputs if self.norm_after else self.attention_norm(inputs)

    def _keys_and_values(self, x, positions):
        key = self._normed(self.key(x), self.key_norm)
        return self._rotated(key, positions), self._heads(self.value(x))

    def _queries(self, x):
        return self._normed(self.query(x), self.query_norm)

    def _rotated(self, heads, positions):
        return self.rotary_embedding(heads, positions=positions)

    def _mlp(self, x):
        gate = get_activation(self.activation)(self.mlp_gate(x))
        return self.mlp_down(gate * self.mlp_up(x))

    def _heads(self, x):
        return ops.reshape(
            x, (-1, x.shape[1], x.shape[2] // self.head_dim, self.head_dim)
        )

    def _normed(self, x, norm):
        """Normalised heads of queries or keys (B, S, width)."""
        if self.query_key_norm == "head":
            return norm(self._heads(x))
        return self._heads(norm(x))

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
                "query_key_norm": self.query_key_norm,
                "norm_after": self.norm_after,
                "attention_bias": self.attention_bias,
                "rope_scaling": self.rope_scaling,
                "rope_sections": self.rope_sections,
                "rematerialize": self.rematerialize,
            }
        )
        return config
