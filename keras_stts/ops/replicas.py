"""Replicas of a model on several devices, each in a thread of TensorFlow's.

Each replica runs a step on its part of a batch, and Keras takes the mean of
the replicas' losses. The mean over all that a batch weighs is the mean of the
replicas' means, each multiplied by the share of the weight that it has.
"""

import contextlib
import threading

import keras

_here = threading.local()


@contextlib.contextmanager
def sharing(**shares):
    """Within this context a replica has these shares.

    Args:
        **shares: Scalar tensors: R times the weight of this replica, divided
            by that of all R replicas; of `tokens` and of `frames`.
    """
    _here.shares = shares
    try:
        yield
    finally:
        del _here.shares


def in_mean_of_all(mean, of):
    """A mean over one replica's tokens or frames, multiplied by its share.

    Args:
        mean: Scalar tensor.
        of: `"tokens"` or `"frames"`.

    Returns:
        Scalar tensor; outside of replicas the mean itself.
    """
    shares = getattr(_here, "shares", None)
    return mean if shares is None else mean * shares[of]


def summed(gradients):
    """The sums of a list of tensors over all replicas.

    Keras sums gradients after it clips them, so that they are clipped in parts.
    """
    context = _context()
    if context is None:
        return gradients
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)


def part_of_sum(tensor):
    """What each of the replicas adds to a sum that all of them know."""
    context = _context()
    return tensor if context is None else tensor / context.num_replicas_in_sync


def _context():
    """TensorFlow's context of one of several replicas, or `None`."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    several = context is not None and context.num_replicas_in_sync > 1
    return context if several else None
