"""Which kernel runs attention."""

import logging

import keras

from keras_stts import config

# Of NVIDIA's GPUs, for fused attention.
LEAST_CAPABILITY = 8.0

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
        return _for_jax()
    return "chunked"


def _for_jax():
    import jax

    platform = jax.default_backend()
    if platform == "tpu":
        return "pallas"
    if platform != "gpu":
        return "chunked"
    capability = float(getattr(jax.devices()[0], "compute_capability", 0))
    if capability < LEAST_CAPABILITY:
        say_once(
            "Attention runs in chunks, not fused: cuDNN's kernels need "
            f"compute capability {LEAST_CAPABILITY}, this GPU has {capability}."
        )
        return "chunked"
    return "cudnn"


def say_once(message):
    """Log that something else runs than was to be expected."""
    if message not in _said:
        _said.add(message)
        logging.getLogger("keras_stts").warning(message)
