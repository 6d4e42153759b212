"""Which kernel runs attention."""

import logging

import keras

from keras_stts import config

_said = set()


def chosen_kernel():
    """The name, of `keras_stts.config.ATTENTION` but `"auto"`."""
    name = config.attention()
    return _for_device() if name == "auto" else name


def _for_device():
    backend = keras.config.backend()
    if backend == "torch":
        return "torch"
    if backend == "jax":
        import jax

        return {"tpu": "pallas", "gpu": "cudnn"}.get(
            jax.default_backend(), "chunked"
        )
    return "chunked"


def say_once(message):
    """Log that something else runs than was to be expected."""
    if message not in _said:
        _said.add(message)
        logging.getLogger("keras_stts").warning(message)
