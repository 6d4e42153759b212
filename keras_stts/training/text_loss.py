"""Cross-entropy of texts, without all logits in memory at once.

Logits are a number for each token and each word of the vocabulary: 5 GB in
float32 for 8,192 tokens of Molmo2. In training and testing the head therefore
runs inside the loss, on a chunk of tokens at a time, and again for its
gradient. For that a step gives the labels to the model, beside its inputs.
Instead of logits, the model then returns the loss of each token and whether it
was the likeliest, which the default loss and metric average.
"""

import keras
from keras import ops

from keras_stts.kernels.chunked import map_pieces
from keras_stts.kernels.chunked import rematerialized
from keras_stts.ops import replicas

# Most bytes of float32 logits in memory at once.
MOST_BYTES = 2**28
# What a model's inputs call the labels of a step.
LABELS = "labels"
# And what has as many rows as are counted: of all inputs Keras asks the first.
ROWS = "_rows"


def _are_averaged(y_true, y_pred):
    """Whether both are what a model made of labels, not labels and logits.

    A step gives them twice, for Keras takes no loss without labels.
    """
    return tuple(y_true.shape) == tuple(y_pred.shape)


def chunk_length(shape, vocabulary_size):
    """Number of tokens of each text that are run at once.

    Args:
        shape: Tuple (B, S) of the labels; B may be `None`.
        vocabulary_size: Int.
    """
    rows, length = shape
    most = MOST_BYTES // (4 * vocabulary_size * (rows or 1))
    count = -(-length // max(1, most))
    return -(-length // count)


def losses_and_hits(hidden, labels, head, size):
    """Cross-entropy of each token, and whether the token was the likeliest.

    Args:
        hidden: Tensor (B, S, D).
        labels: Int tensor (B, S).
        head: Layer, (B, n, D) to logits (B, n, V).
        size: Int n, number of tokens whose logits are in memory at once.

    Returns:
        Float32 tensor (B, S, 2).
    """

    def run(hidden, labels):
        logits = head(hidden)
        losses = keras.losses.sparse_categorical_crossentropy(
            labels, ops.cast(logits, "float32"), from_logits=True
        )
        hits = ops.cast(ops.argmax(logits, axis=-1), labels.dtype) == labels
        return ops.stack([losses, ops.cast(hits, "float32")], axis=-1)

    labels, run = ops.convert_to_tensor(labels), rematerialized(run)
    if keras.config.backend() != "tensorflow":
        return map_pieces(run, (hidden, labels), (1, 1), size, looped=True)
    # TensorFlow's loops have no gradients for variables that they read.
    ends = list(range(size, labels.shape[1], size))
    pieces = zip(ops.split(hidden, ends, axis=1), ops.split(labels, ends, 1))
    return ops.concatenate([run(*piece) for piece in pieces], axis=1)


@keras.saving.register_keras_serializable(package="keras_stts")
class TextCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """The mean loss over tokens with weight, from logits or token losses."""

    def __init__(self, name="sparse_categorical_crossentropy", **kwargs):
        kwargs = {"reduction": "mean_with_sample_weight", **kwargs}
        super().__init__(name=name, **{**kwargs, "from_logits": True})

    def __call__(self, y_true, y_pred, sample_weight=None):
        if _are_averaged(y_true, y_pred):
            y_true = y_pred = y_pred[..., 0]
        loss = super().__call__(y_true, y_pred, sample_weight)
        if self.reduction != "mean_with_sample_weight":
            return loss
        return replicas.in_mean_of_all(loss, "tokens")

    def call(self, y_true, y_pred):
        if _are_averaged(y_true, y_pred):
            return y_pred
        return super().call(y_true, y_pred)


@keras.saving.register_keras_serializable(package="keras_stts")
class TextAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The share of tokens that were the likeliest, from logits or hits."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        if not _are_averaged(y_true, y_pred):
            return super().update_state(y_true, y_pred, sample_weight)
        return keras.metrics.Mean.update_state(
            self, y_pred[..., 1], sample_weight
        )
