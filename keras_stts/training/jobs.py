"""What processes do together that train one model, under JAX."""

import contextlib

import keras
import numpy as np

from keras_stts import _hub_compat as hub


def this_process():
    """Tuple (index, count) of this process among those that share a model."""
    if keras.distribution.distribution() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


@contextlib.contextmanager
def gathered(model):
    """In here the variables of a model have all of their values.

    Those of which other processes hold parts are brought into the memory of
    this host, so all processes have to enter. Each may then save them alone.

    Args:
        model: A compiled `keras.Model`, which may be in the middle of `fit`.
    """
    if this_process()[1] == 1:
        yield
        return
    model.jax_state_sync()
    variables = [*model.variables, *model.optimizer.variables]
    variables = {id(v): v for v in variables if not _is_whole(v.value)}
    before = [(v, v.value) for v in variables.values()]
    distribution = keras.distribution.distribution()
    # Keras makes variables while it saves, which all processes would have to.
    keras.distribution.set_distribution(None)
    try:
        for variable, value in before:
            hub.set_value(variable, _whole(value))
        yield
    finally:
        keras.distribution.set_distribution(distribution)
        for variable, value in before:
            hub.set_value(variable, value)


def _is_whole(array):
    return array.is_fully_addressable or array.is_fully_replicated


def _whole(array):
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array, tiled=True)


def of_all(*numbers):
    """The same numbers of each process: list of lists of ints."""
    if this_process()[1] == 1:
        return [list(numbers)]
    from jax.experimental import multihost_utils

    array = np.array(numbers, "int32")
    return np.asarray(multihost_utils.process_allgather(array)).tolist()
