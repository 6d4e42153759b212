import contextlib
import contextvars
import math

import keras
import ml_dtypes
import numpy as np

_loading = contextvars.ContextVar("loading", default=False)


@contextlib.contextmanager
def weights_to_be_loaded(loaded=True):
    """If `loaded`, layers built in here start with anything, in no time.

    Drawing the random weights of a large model takes longer than reading
    those that replace them.
    """
    token = _loading.set(loaded)
    try:
        yield
    finally:
        _loading.reset(token)


def host_array(shape, dtype):
    """An array that takes no memory until written, for `from_host`.

    JAX and TensorFlow take over arrays that are aligned to 64 bytes.
    """
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, "uint8")
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def from_host(array):
    """A tensor of an array that is not used again.

    On a CPU it takes over the array's memory, where Keras would copy it, and
    bfloat16 by way of float32.
    """
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        return jax.device_put(array)
    is_bfloat16 = array.dtype.name == "bfloat16"
    array = array.view("int16") if is_bfloat16 else array
    if backend == "torch":
        import torch

        tensor = torch.from_numpy(array)
        return tensor.view(torch.bfloat16) if is_bfloat16 else tensor
    import tensorflow as tf

    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.bitcast(tensor, tf.bfloat16) if is_bfloat16 else tensor


def _empty(shape, dtype=None):
    return from_host(host_array(shape, keras.backend.standardize_dtype(dtype)))


def normal_initializer():
    """Molmo2's initializer of kernels and embeddings."""
    if _loading.get():
        return _empty
    return keras.initializers.RandomNormal(stddev=0.02)


def glorot_initializer():
    """Keras' default."""
    if _loading.get():
        return _empty
    return keras.initializers.GlorotUniform()
