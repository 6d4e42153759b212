import contextlib
import contextvars
import math
import mmap

import keras
import ml_dtypes
import numpy as np

PRIVATE = {}
if hasattr(mmap, "MAP_PRIVATE"):
    PRIVATE["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_loading = contextvars.ContextVar("loading", default=False)


@contextlib.contextmanager
def weights_to_be_loaded(loaded):
    """If `loaded`, layers built within start with uninitialized weights.

    Drawing random weights for a large model takes longer than reading the
    weights that replace them.
    """
    token = _loading.set(loaded)
    try:
        yield
    finally:
        _loading.reset(token)


def built_empty():
    """Whether layers start with uninitialized weights just now."""
    return _loading.get()


def draw_kernels(variables):
    """Random weights of a scorer that was built empty, and no file has."""
    with weights_to_be_loaded(False):
        initializer = scorer_initializer()
    for variable in variables:
        if variable.name == "kernel":
            variable.assign(initializer(variable.shape, variable.dtype))


def host_array(shape, dtype):
    """An array that takes no memory until it is written, for `assign`.

    JAX and TensorFlow take over arrays that are aligned to 64 bytes. NumPy
    would ask for huge pages, and finding them can take longer than reading.
    """
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, size, **PRIVATE), dtype).reshape(shape)


def assign(variable, array):
    """Assign an array to a variable, which may take over its memory."""
    layout = getattr(variable, "_layout", None)
    if keras.config.backend() == "jax" and layout is not None:
        variable.assign(_cut(array, variable.dtype, layout.backend_layout))
        return
    value = _from_host(array)
    if keras.config.backend() == "torch":
        # Keras would copy.
        own = variable.value
        own.data = value.to(own.device, own.dtype)
    else:
        variable.assign(value)


def _cut(array, dtype, sharding):
    """A JAX array of which each device gets only its own piece."""
    import jax

    def piece(index):
        return np.array(array[index], dtype)  # A copy frees the whole array.

    return jax.make_array_from_callback(array.shape, sharding, piece)


def _from_host(array):
    """A tensor of an array that is not used again.

    On a CPU the tensor takes over the array's memory. Keras would copy it, and
    convert bfloat16 by way of float32.
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


def _empty(shape, dtype=None, layout=None):
    if layout is not None:
        import jax

        # Keras passes one for weights on several devices, under JAX.
        return jax.numpy.zeros(shape, dtype, out_sharding=layout)
    return _from_host(host_array(shape, keras.backend.standardize_dtype(dtype)))


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


def scorer_initializer():
    """Truncated normal with std 1 / sqrt(fan_in)."""
    if _loading.get():
        return _empty
    return keras.initializers.VarianceScaling(
        scale=1.0, mode="fan_in", distribution="truncated_normal"
    )
