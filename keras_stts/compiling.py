"""Compiling functions of a model for its backend."""

import keras
from keras import ops

from keras_stts.models import cuda_graphs

__all__ = ["compiled", "wait"]


def compiled(model, function, *, loops=False):
    """A function of tensors, compiled for inference as its backend does.

    Args:
        model: The model whose weights the function uses.
        function: Function of tensors.
        loops: Bool. Whether it loops until a value it computes ends it. On
            GPUs PyTorch records all other functions as CUDA graphs; each call
            of such a graph overwrites the outputs of the call before.
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
