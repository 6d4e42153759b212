import functools
from collections import namedtuple

import keras

from keras_stts.language.decoder_block import DecoderBlock
from keras_stts.layers.fused import RMSNormalization
from keras_stts.layers.initializers import normal_initializer
from keras_stts.ops import attention
from keras_stts.ops import prefix_attention

Prefix = namedtuple(
    "Prefix", ["x", "sequence", "reach", "additions"], defaults=[()]
)
Prefix.__doc__ = """The vision part, on its way through the layers.

Attributes:
    x: Tensor (B, S, D).
    sequence: The `keras_stts.ops.sequence.Sequence` of its tokens.
    reach: The `keras_stts.ops.Reach` of them.
    additions: Tensors (B, S, D), what is added after each of the first layers.
"""

Text = namedtuple("Text", ["x", "positions", "mask", "prefix_mask"])
Text.__doc__ = """The text part, on its way through the layers.

Attributes:
    x: Tensor (B * R, S, D), R texts for each prefix.
    positions: Int32 tensor (B * R, S).
    mask: Bool tensor that broadcasts to (B * R, 1, S, S2), which tokens of
        the text each token sees.
    prefix_mask: Optional bool tensor (B, S, S1), which tokens of the prefix
        each token sees. Defaults to all but padding.
"""


@keras.saving.register_keras_serializable(package="keras_stts")
class LanguageModel(keras.layers.Layer):
    """A decoder with bidirectional attention in a prefix before the text.

    Args:
        vocabulary_size: Int V. Number of token ids that can be generated.
        num_layers: Int. Number of decoder layers.
        hidden_dim: Int. Width D.
        num_query_heads: Int.
        num_key_value_heads: Int.
        head_dim: Int.
        intermediate_dim: Int. Width of the MLPs.
        additional_vocabulary_size: Int. Number of token ids above these that
            are inputs only. Defaults to `128`, as Molmo2 has for its vision
            tokens; `0` if `vocabulary_size` counts all ids of a tokenizer.
        rope_max_wavelength: See `DecoderBlock`, as for `layer_norm_epsilon`,
            `activation`, `query_key_norm`, `norm_after`, `attention_bias`,
            `rope_scaling`, `rope_sections` and `rematerialize`.
        rope_scaling_layers: Optional ints. Layers with `rope_scaling`.
            Defaults to all.
        tie_embeddings: Bool. Whether the output head of a `VideoVLM` is the
            token embedding, one variable. Then no ids are inputs only.
            Defaults to `False`.

    Raises:
        ValueError: If embeddings are tied, and ids are inputs only.

    Reference:
        Qwen3 (arXiv 2505.09388), OLMo 2 (arXiv 2501.00656).
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        hidden_dim,
        *,
        num_query_heads,
        num_key_value_heads,
        head_dim,
        intermediate_dim,
        additional_vocabulary_size=128,
        rope_max_wavelength=5000000.0,
        layer_norm_epsilon=1e-6,
        activation="silu",
        query_key_norm="head",
        norm_after=False,
        attention_bias=False,
        rope_scaling=None,
        rope_scaling_layers=None,
        rope_sections=None,
        rematerialize=False,
        tie_embeddings=False,
        **kwargs,
    ):
        config = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "kwargs", "__class__")
        }
        super().__init__(**{"name": "language_model", **kwargs})
        self._config = config
        for name, value in config.items():
            setattr(self, name, value)
        if tie_embeddings and additional_vocabulary_size:
            raise ValueError(
                "An output head that is the token embedding puts out all ids. "
                "Received: tie_embeddings=True, additional_vocabulary_size="
                f"{additional_vocabulary_size}. Leave one of them out."
            )
        self.token_embedding = keras.layers.Embedding(
            vocabulary_size + additional_vocabulary_size,
            hidden_dim,
            embeddings_initializer=normal_initializer(),
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.transformer_layers = [self._block(i) for i in range(num_layers)]
        self.layer_norm = RMSNormalization(
            epsilon=layer_norm_epsilon,
            dtype=self.dtype_policy,
            name="layer_norm",
        )

    def _block(self, i):
        scaled, scaling = self.rope_scaling_layers, self.rope_scaling
        if scaled is not None and i not in scaled:
            scaling = None
        return DecoderBlock(
            self.num_query_heads,
            self.num_key_value_heads,
            self.head_dim,
            self.intermediate_dim,
            rope_max_wavelength=self.rope_max_wavelength,
            layer_norm_epsilon=self.layer_norm_epsilon,
            activation=self.activation,
            query_key_norm=self.query_key_norm,
            norm_after=self.norm_after,
            attention_bias=self.attention_bias,
            rope_scaling=scaling,
            rope_sections=self.rope_sections,
            rematerialize=self.rematerialize,
            dtype=self.dtype_policy,
            name=f"transformer_layer_{i}",
        )

    def build(self, input_shape=None):
        shape = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
        for block in self.transformer_layers:
            block.build(shape)
        self.layer_norm.build(shape)
        self.built = True

    def run(self, text=None, prefix=None, seen=None, cache=None, prune=None):
        """Run all layers: on whole sequences, on a prefix alone, or on texts
        after a prefix that was run before.

        Args:
            text: Optional `Text`.
            prefix: Optional `Prefix`.
            seen: Dict of `"layers"`, keys and values of the prefix in each
                layer, and `"masks"`, False for their padding. With a `prefix`
                it is filled here, together with `"positions"`.
            cache: Optional tuple of the list of (key, value) that `run`
                returned for a longer text, and the index from which the keys
                and values of this text are written into them.
            prune: Optional dict of layer number to a function of the layer,
                of text and prefix before it, and of the prefix and its keys
                after it. The function returns a shorter prefix and the places
                of its tokens.

        Returns:
            Tuple (hidden states of the text (B * R, S, D) or `None`, `seen`,
            list of the text's (key, value) in each layer).
        """
        fresh, written = prefix is not None, []
        if fresh:
            seen = {"layers": [], "masks": [], "positions": [], **(seen or {})}
        for i, block in enumerate(self.transformer_layers):
            before = text, prefix
            if fresh:
                prefix = self._see(i, prefix, seen)
            if text is not None:
                mine = None if cache is None else (*cache[0][i], cache[1])
                text, *own = _say(block, text, seen, i, mine)
                written.append(tuple(own))
            if prune and i in prune:
                keys = seen["layers"][i][0]
                prefix, seen["places"] = prune[i](block, *before, prefix, keys)
        hidden = None if text is None else self.layer_norm(text.x)
        return hidden, seen, written

    def _see(self, i, prefix, seen):
        """Run one layer on the prefix; of the last only keys and values."""
        block, sequence = self.transformer_layers[i], prefix.sequence
        if i == len(self.transformer_layers) - 1:
            own = block.keys_and_values(prefix.x, sequence.positions)
        else:
            attend = functools.partial(attention, reach=prefix.reach)
            x, *own = block(
                prefix.x, positions=sequence.positions, attend=attend
            )
            if i < len(prefix.additions):
                x = x + prefix.additions[i]
            prefix = prefix._replace(x=x)
        seen["layers"].append(tuple(own))
        seen["masks"].append(sequence.mask)
        seen["positions"].append(sequence.positions)
        return prefix

    def get_config(self):
        return {**super().get_config(), **self._config}


def _say(block, text, seen, i, cache):
    """Run one layer on the text; its keys and values, too."""
    mask = text.prefix_mask
    attend = functools.partial(
        _after_prefix,
        prefix_mask=seen["masks"][i] if mask is None else mask,
        mask=text.mask,
    )
    x, key, value = block(
        text.x,
        positions=text.positions,
        attend=attend,
        context=seen["layers"][i],
        cache=cache,
    )
    return text._replace(x=x), key, value


def _after_prefix(query, key, value, *prefix, prefix_mask, mask):
    return prefix_attention(
        query, prefix, key, value, prefix_mask=prefix_mask, mask=mask
    )
