"""Saving a model of which several processes hold parts, under JAX.

The first process writes. Whenever it reads a weight that is in parts, it tells
the others which, and all of them gather it: one at a time is in memory beside
the model.
"""

import contextlib
import functools
import itertools
import logging
import threading

import keras
import numpy as np

from keras_stts import _hub_compat as hub
from keras_stts.training.jobs import this_process

# Methods of models.
SAVING = (
    "save",
    "save_weights",
    "save_to_preset",
    "save_lora_weights",
    "export_to_transformers",
)
# In place of the number of a variable.
DONE, FAILED = -1, -2
# Seconds to wait for other processes before a warning.
PATIENCE = 30


def saved_together(cls):
    """Let the saving methods of a model class be run by all processes.

    If processes hold parts of the weights, all of them must call the method.
    The first writes, one weight after the other, and the others return when
    it is done.
    """
    for name in SAVING:
        if hasattr(cls, name):
            setattr(cls, name, _together(getattr(cls, name)))
    return cls


def _together(method):
    @functools.wraps(method)
    def save(self, *args, **kwargs):
        def write():
            return method(self, *args, **kwargs)

        if is_in_parts(self):
            return save_together(self, write, f"`{method.__name__}`")
        with alone():
            return write()

    return save


def is_in_parts(model):
    """Whether other processes hold parts of a model's variables."""
    if this_process()[1] == 1:
        return False
    return not all(_is_whole(v.value) for v in _variables(model))


def save_together(model, write, name):
    """Let the first process write weights of which all processes have parts.

    Args:
        model: A `keras.Model`, which may be in the middle of `fit`.
        write: Function without arguments that only the first process runs.
            In it variables have all their values.
        name: Str, the method that all processes must call, for a warning.

    Raises:
        OSError: In the other processes, if `write` raised.
    """
    model.jax_state_sync()
    variables = [v for v in _variables(model) if not _is_whole(v.value)]
    if this_process()[0]:
        _give_parts([v.value for v in variables], name)
        return None
    _meet(name)
    end = FAILED
    try:
        with _lent(model):
            result = write()
        end = DONE
    finally:
        _send(end)
    return result


def read_together(variable):
    """All values of a variable, which all processes must ask for."""
    value = variable.value
    if _is_whole(value):
        return keras.ops.convert_to_numpy(value)
    return _whole(value)


def _variables(model):
    """Variables of a model and its optimizer, in the same order everywhere."""
    optimizer = getattr(model, "optimizer", None)
    found = [*model.variables, *(optimizer.variables if optimizer else ())]
    return list({id(v): v for v in found}.values())


def _give_parts(values, name):
    """Take part in gathering the weights that the first process asks for."""
    _meet(name)
    while (number := _send(0)) >= 0:
        _whole(values[number])
    if number == FAILED:
        raise OSError(
            "The first process of a job writes for all of them, and it "
            f"failed in {name}: its own error says why."
        )


def _send(number):
    """Send an int of the first process to all processes."""
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def _meet(name):
    """Wait for the other processes, with a warning if it takes long."""
    text = (
        f"Process %d of %d waits for the others in {name}: each holds parts "
        "of the weights, so all of them have to call it."
    )
    say = threading.Timer(PATIENCE, logging.warning, (text, *this_process()))
    say.daemon = True
    say.start()
    try:
        _send(0)
    finally:
        say.cancel()


@contextlib.contextmanager
def alone():
    """Within this context this process does not wait for others.

    Keras makes variables while it saves, which otherwise all processes would
    have to make.
    """
    distribution = keras.distribution.distribution()
    if this_process()[1] > 1:
        keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


@contextlib.contextmanager
def _lent(model):
    """Within this context variables in parts are gathered when read."""
    numbers, fetched = itertools.count(), []
    for variable in _variables(model):
        value = variable.value
        if not _is_local(value):
            number = None if _is_whole(value) else next(numbers)
            fetch = functools.partial(_fetch, value, number)
            fetched.append((variable, fetch))
    with alone(), hub.read_by(fetched):
        yield


def _fetch(array, number):
    """The values of an array, gathered if the others know it by a number."""
    if number is None:
        return np.asarray(array)
    _send(number)
    return _whole(array)


def _is_local(array):
    return getattr(array, "is_fully_addressable", True)


def _is_whole(array):
    return _is_local(array) or array.is_fully_replicated


def _whole(array):
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array, tiled=True)
