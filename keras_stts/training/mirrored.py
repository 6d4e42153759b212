"""`tf.distribute.MirroredStrategy`: each device trains on a part of a batch."""

import contextlib

import keras

from keras_stts.training import text_loss


def strategy_of(model):
    """The strategy of several devices that a model was made in, or `None`."""
    if keras.config.backend() != "tensorflow":
        return None
    strategy = model.distribute_strategy
    return strategy if strategy.num_replicas_in_sync > 1 else None


def scope(model):
    """Context in which variables are made on all devices of a model."""
    strategy = strategy_of(model)
    return strategy.scope() if strategy else contextlib.nullcontext()


class WholeBatches:
    """A strategy as Keras sees it: data sets stay as they are.

    `tf_steps` divides batches, where their shapes are known. Keras would do it
    in the graph, and cannot divide bool inputs.

    Args:
        strategy: A `tf.distribute.Strategy`.
    """

    def __init__(self, strategy):
        self.whole = strategy

    def __getattr__(self, name):
        return getattr(self.whole, name)

    def experimental_distribute_dataset(self, dataset):
        return dataset


def check(strategy, loss):
    """Raise if a model cannot be trained in a strategy.

    Args:
        strategy: A `tf.distribute.Strategy` of several devices.
        loss: The loss that the model was compiled with.

    Raises:
        ValueError: If it is another strategy than `MirroredStrategy`, or the
            loss is a mean over weights that replicas do not know of.
    """
    import tensorflow as tf

    kind = tf.distribute.MirroredStrategy
    strategy = getattr(strategy, "whole", strategy)
    if not isinstance(strategy, kind):
        raise ValueError(
            "Under TensorFlow a `VideoVLM` runs on several devices in a "
            "`tf.distribute.MirroredStrategy`. Received: "
            f"{type(strategy).__name__}. For TPUs and several machines set "
            "KERAS_BACKEND=jax and pass `distribution` to `from_preset`."
        )
    check_loss(loss, "a `MirroredStrategy`")


def check_loss(loss, place):
    """Raise if a loss is a mean over weights that it does not share.

    Args:
        loss: The loss that a model was compiled with.
        place: Str, what the devices are of.

    Raises:
        ValueError: If so.
    """
    reduction = getattr(loss, "reduction", None)
    own = isinstance(loss, text_loss.TextCrossentropy)
    if reduction == "mean_with_sample_weight" and not own:
        raise ValueError(
            f"In {place} a loss is the mean of the devices' losses, which "
            "is not the mean over all tokens with weight. Received: "
            f"{type(loss).__name__} with {reduction=}. Leave `loss` at "
            '"auto".'
        )
