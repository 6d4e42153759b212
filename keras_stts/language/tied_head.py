import keras
from keras import ops

from keras_stts import _hub_compat as hub


class TiedHead(keras.layers.Layer):
    """An output head whose weights are those of a token embedding.

    It has none of its own: what trains, adapts or quantizes the embedding
    does so to both, and the embedding's gradient is the sum of both.

    Args:
        embedding: `keras.layers.Embedding`, part of a language model.

    Call arguments:
        inputs: Tensor (..., D).

    Returns:
        Tensor (..., V), logits.
    """

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        # In a function, or Keras would save the embedding here, too.
        self._embedding = lambda: embedding
        self.built = True

    def call(self, inputs):
        table = ops.cast(self._table(), inputs.dtype)
        return ops.matmul(inputs, ops.transpose(table))

    def _table(self):
        """The embedding (V, D), with factors and as floats."""
        embedding = self._embedding()
        if embedding.quantization_mode is None:
            return embedding.embeddings
        size = hub.own_variable(embedding, "embeddings").shape[0]
        return embedding(ops.arange(size, dtype="int32"))

    def compute_output_shape(self, input_shape):
        size = hub.own_variable(self._embedding(), "embeddings").shape[0]
        return (*input_shape[:-1], size)


def copy_embedding(model):
    """Give a `VideoVLM` with an own head the weights of its embedding."""
    table = model.backbone.token_embedding.embeddings
    model.lm_head.kernel.assign(ops.transpose(table))


def no_place_for_head(preset):
    """The error if a preset's head would be left out."""
    return ValueError(
        "A preset whose output head has weights of its own is loaded with "
        f"them. Received: tie_embeddings=True for {preset}. Leave it out."
    )
