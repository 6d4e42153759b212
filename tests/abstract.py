"""Models whose variables hold nothing."""

import contextlib

import keras
from keras.src.backend.common import global_state

WAITING = "uninitialized_variables"


@contextlib.contextmanager
def abstract_variables():
    """Variables that are made here have a shape and a dtype, and no value.

    Keras would give them one at the end of its next scope, however large
    they are.
    """
    with keras.StatelessScope(initialize_variables=False):
        yield
    global_state.set_global_attribute(WAITING, [])
