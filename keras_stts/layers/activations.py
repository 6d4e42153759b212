"""Activations by the names that checkpoints give them."""

import functools
import math

import keras
from keras import ops


def _gelu_tanh(x):
    return keras.activations.gelu(x, approximate=True)


def _gelu_10(x):
    return ops.clip(keras.activations.gelu(x, approximate=False), -10.0, 10.0)


def _laplace(x, mean=0.707107, deviation=0.282095):
    return 0.5 * (1.0 + ops.erf((x - mean) / (deviation * math.sqrt(2.0))))


def _quick_gelu(x):
    return x * ops.sigmoid(1.702 * x)


def _relu2(x):
    return ops.square(ops.relu(x))


def _sqrtsoftplus(x):
    return ops.sqrt(ops.softplus(x))


# transformers' names, which are not always Keras' (`leaky_relu`).
ACTIVATIONS = {
    "gelu": keras.activations.gelu,
    "gelu_10": _gelu_10,
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_python": keras.activations.gelu,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "hardswish": keras.activations.hard_silu,
    "laplace": _laplace,
    "leaky_relu": functools.partial(
        keras.activations.leaky_relu, negative_slope=0.01
    ),
    "linear": keras.activations.linear,
    "mish": keras.activations.mish,
    "quick_gelu": _quick_gelu,
    "relu": keras.activations.relu,
    "relu2": _relu2,
    "relu6": keras.activations.relu6,
    "sigmoid": keras.activations.sigmoid,
    "silu": keras.activations.silu,
    "sqrtsoftplus": _sqrtsoftplus,
    "swish": keras.activations.silu,
    "tanh": keras.activations.tanh,
}


def get_activation(name, argument="activation"):
    """The activation with this name, a function of a tensor.

    Args:
        name: Str, one of `ACTIVATIONS`.
        argument: Str. Name of the argument for the error message.

    Raises:
        ValueError: If the name is unknown. `prelu` and `xielu` of
            transformers are refused, as they have weights of their own.
    """
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    raise ValueError(
        f"`{argument}` must be one of {', '.join(ACTIVATIONS)}, activations "
        f"without weights of their own. Received: {argument}={name!r}."
    )
