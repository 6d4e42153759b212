import functools

import keras
from keras import ops

from keras_stts.language.rope import RotaryEmbedding
from keras_stts.layers.activations import get_activation
from keras_stts.layers.fused import Dense
from keras_stts.layers.fused import RMSNormalization
from keras_stts.layers.initializers import normal_initializer
from keras_stts.ops import Reach
from keras_stts.ops import attention
from keras_stts.ops import prefix_attention
from keras_stts.ops.places import write_at
from keras_stts.pruning.language import attention_logits


@keras.saving.register_keras_serializable(package="keras_stts")
class DecoderBlock(keras.layers.Layer):
    """A Qwen3 or OLMo-3 decoder block, for a prefix and what follows it.

    KerasHub's blocks take neither positions nor attention both ways.

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
        rematerialize: Bool. Whether training computes the block again for
            its gradient instead of keeping what is inside of it.

    Call arguments:
        inputs: Tensor (B, S, D).
        positions: Int tensor (B, S).
        reach: Dict of a `keras_stts.ops.Reach`, of a sequence without prefix.
        attention_mask: Bool tensor broadcast to (B, 1, S, S2): which keys of
            its own sequence a query may see, of a sequence after a prefix.
        prefix: Optional tuple (key, value) of a sequence before this one.
        prefix_mask: Bool tensor (B, S1), which of it is real, or
            (B, S, S1), which of it a query may see.
        cache: Optional tuple (key, value) of tensors (B, S2, heads,
            head_dim) that new keys and values are written into.
        cache_index: Int scalar tensor, where they are written.
        keys_only: Bool. If True, only key and value are computed.
        ranker: Optional tuple (hidden states (B, 1, D), positions (B, 1)) of
            one token after the sequence that ranks its tokens.
        ranker_rope: Bool. Whether it ranks with the rotary embedding.

    Returns:
        Tuple (outputs, key, value): outputs (B, S, D), and this block's keys
        and values, (B, S2, key-value heads, head_dim); with `keys_only` the
        tuple (key, value); with `ranker` also the float32 logits (B, heads,
        S) that its query makes of the keys.

    Reference:
        Qwen3 (arXiv 2505.09388), OLMo 2 (arXiv 2501.00656).
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
        query_key_norm="head",
        norm_after=False,
        attention_bias=False,
        rope_scaling=None,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if query_key_norm not in ("head", "all"):
            raise ValueError(
                '`query_key_norm` must be "head" or "all". Received: '
                f"query_key_norm={query_key_norm!r}."
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
        self.rematerialize = rematerialize
        self.rotary_embedding = RotaryEmbedding(
            head_dim,
            rope_max_wavelength,
            rope_scaling,
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
        self.query = self._dense("query", width, queries, bias)
        self.key = self._dense("key", width, keys, bias)
        self.value = self._dense("value", width, keys, bias)
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

    def _dense(self, name, width, units, bias=False):
        layer = Dense(
            units,
            use_bias=bias,
            kernel_initializer=normal_initializer(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, width))
        return layer

    def call(
        self,
        inputs,
        positions,
        reach=None,
        attention_mask=None,
        prefix=None,
        prefix_mask=None,
        cache=None,
        cache_index=None,
        keys_only=False,
        ranker=None,
        ranker_rope=True,
    ):
        run = functools.partial(
            self._run,
            positions=positions,
            reach=None if reach is None else Reach(**reach),
            attention_mask=attention_mask,
            prefix_mask=prefix_mask,
            cache=cache,
            cache_index=cache_index,
            keys_only=keys_only,
            ranker=ranker,
            ranker_rope=ranker_rope,
        )
        if self.rematerialize and cache is None and not keys_only:
            # TensorFlow needs what has a gradient by place.
            run = keras.remat(run)
        return run(inputs, *(prefix or ()))

    def _run(
        self,
        inputs,
        *prefix,
        positions,
        reach,
        attention_mask,
        prefix_mask,
        cache,
        cache_index,
        keys_only,
        ranker,
        ranker_rope,
    ):
        x = inputs if self.norm_after else self.attention_norm(inputs)
        plain_key = self._normed(self.key(x), self.key_norm)
        key = self.rotary_embedding(plain_key, positions=positions)
        value = self._heads(self.value(x))
        if cache is not None:
            key = write_at(cache[0], cache_index, key)
            value = write_at(cache[1], cache_index, value)
        if keys_only:
            return key, value
        query = self._rotated_query(x, positions)
        if not prefix:
            out = attention(query, key, value, mask=attention_mask, reach=reach)
        else:
            out = prefix_attention(
                query, prefix, key, value, prefix_mask, attention_mask
            )
        joined = (-1, inputs.shape[1], self.num_query_heads * self.head_dim)
        out = self.attention_output(ops.reshape(out, joined))
        if self.norm_after:
            x = inputs + self.attention_norm(out)
            x = x + self.mlp_norm(self._mlp(x))
        else:
            x = inputs + out
            x = x + self._mlp(self.mlp_norm(x))
        if ranker is None:
            return x, key, value
        logits = self._rank(
            *ranker, key if ranker_rope else plain_key, ranker_rope
        )
        return x, key, value, logits

    def _rank(self, hidden, positions, key, rope):
        """Logits (B, heads, S) that the query of one token makes of keys."""
        x = hidden if self.norm_after else self.attention_norm(hidden)
        if rope:
            query = self._rotated_query(x, positions)
        else:
            query = self._normed(self.query(x), self.query_norm)
        return attention_logits(query, key)

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

    def _rotated_query(self, x, positions):
        query = self._normed(self.query(x), self.query_norm)
        return self.rotary_embedding(query, positions=positions)

    def compute_output_spec(
        self,
        inputs,
        positions,
        cache=None,
        keys_only=False,
        ranker=None,
        **kwargs,
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
        if ranker is None:
            return outputs, key, value
        shape = (batch, self.num_query_heads, length)
        return outputs, key, value, keras.KerasTensor(shape, dtype="float32")

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
                "rematerialize": self.rematerialize,
            }
        )
        return config
