"""Running functions of a model as its backend compiles them."""

import keras
from keras import ops

from keras_stts.models import cuda_graphs

__all__ = ["compiled", "wait"]


def compiled(model, function, *, loops=False):
    """`function` of tensors, compiled as the backend does for inference.

    Under PyTorch on a GPU it is a CUDA graph, whose outputs the next call
    overwrites, unless it `loops` until what it computes says that it ends.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if backend == "torch":
        import torch

        function = torch.no_grad()(function)
        return function if loops else cuda_graphs.recorded(model, function)
    import jax

    @jax.jit
    def stateless(values, *args, **kwargs):
        mapping = list(zip(model.variables, values))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*args, **kwargs)

    def run(*args, **kwargs):
        return stateless([v.value for v in model.variables], *args, **kwargs)

    return run


def wait(outputs):
    """Return once the outputs are computed."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready(outputs)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        last = keras.tree.flatten(outputs)[-1]
        ops.convert_to_numpy(last)
