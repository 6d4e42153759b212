"""Which kernel runs attention."""

import logging

import keras

from keras_stts import config
from keras_stts.kernels import notes

# The least compute capability of an NVIDIA GPU that cuDNN's kernels run on.
LEAST_CAPABILITY = 8.0
# Of kernels for one kind of device: JAX' name of the device, and ours.
DEVICES = {"pallas": ("tpu", "a TPU"), "cudnn": ("gpu", "an NVIDIA GPU")}

_said = set()


def chosen_kernel():
    """Name of the kernel to run: one of `config.ATTENTION`, never `"auto"`.

    Raises:
        ValueError: If the chosen kernel does not run on the devices here.
    """
    name = config.attention()
    if name == "auto":
        return _for_device()
    if name in DEVICES and not config.for_elsewhere():
        _check_device(name)
    return name


def _check_device(name):
    import jax

    platform, device = DEVICES[name]
    here = jax.default_backend()
    if here != platform:
        raise ValueError(
            f"Attention {name!r} needs {device}. Received: {name!r}, and JAX "
            f"runs on {here}. Leave it at 'auto', which takes the best that "
            "is here."
        )


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
    capability = getattr(jax.devices()[0], "compute_capability", None)
    if _is_enough(capability):
        return "cudnn"
    say_once(
        "Attention runs in chunks, not fused: cuDNN's kernels need an NVIDIA "
        f"GPU of compute capability {LEAST_CAPABILITY}, this one has "
        f"{capability}."
    )
    return "chunked"


def _is_enough(capability):
    """Whether a GPU is new enough; AMD's have a name, such as "gfx942"."""
    try:
        return float(capability) >= LEAST_CAPABILITY
    except (TypeError, ValueError):
        return False


def say_once(message):
    """Log, once a message, why another kernel runs than one would expect."""
    notes.because(message)
    if message not in _said:
        _said.add(message)
        logging.getLogger("keras_stts").warning(message)
