"""What processes do together that train one model, under JAX."""

import random

import keras
import numpy as np


def this_process():
    """Tuple (index, count) of this process among those that share a model."""
    if keras.distribution.distribution() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def of_all(*numbers):
    """The same numbers of each process: list of lists of ints."""
    if this_process()[1] == 1:
        return [list(numbers)]
    from jax.experimental import multihost_utils

    array = np.array(numbers, "int32")
    return np.asarray(multihost_utils.process_allgather(array)).tolist()


def draw_alike():
    """Let `random`, which Keras draws seeds from, be alike in all processes.

    Of weights that begin at random each process makes a part, and all of them
    have to make the same.
    """
    if this_process()[1] > 1:
        (seed, *_), *_ = of_all(random.getrandbits(31))
        random.seed(seed)
