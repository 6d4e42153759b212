"""Gradients of a scalar function on the backend at hand."""

import keras
import numpy as np
from keras import ops


def loss_and_gradients(function, x, variables, *, compile=False):
    """Value, gradient in `x` and gradients in `variables`, as NumPy.

    JAX always compiles, TensorFlow where it is asked to: for a model that
    takes ten times as long as to run step by step.
    """
    backend = keras.config.backend()
    run = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[backend]
    if compile and backend == "tensorflow":
        run = _tensorflow_compiled
    value, *gradients = run(function, x, variables)
    gradients = [None if g is None else np.array(g) for g in gradients]
    return float(value), gradients[0], gradients[1:]


def _jax(function, x, variables):
    import jax

    def stateless(x, values):
        mapping = list(zip(variables, values))
        with keras.StatelessScope(mapping, collect_losses=True):
            return function(x)

    values = [v.value for v in variables]
    run = jax.jit(jax.value_and_grad(stateless, argnums=(0, 1)))
    value, (x_gradient, gradients) = run(ops.convert_to_tensor(x), values)
    return value, x_gradient, *gradients


def _tensorflow(function, x, variables):
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    sources = [x] + [v.value for v in variables]
    gradients = tape.gradient(value, sources, unconnected_gradients="zero")
    return value, *(tf.convert_to_tensor(g) for g in gradients)


def _tensorflow_compiled(function, x, variables):
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def run(x):
        return _tensorflow(function, x, variables)

    return run(tf.convert_to_tensor(x))


def _torch(function, x, variables):
    import torch

    x = ops.convert_to_tensor(x).detach().clone().requires_grad_()
    sources = [x] + [v.value for v in variables]
    value = function(x)
    gradients = torch.autograd.grad(value, sources, allow_unused=True)
    return value.detach(), *(
        None if g is None else g.detach().cpu() for g in gradients
    )
