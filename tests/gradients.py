"""Gradients of a scalar function on the backend at hand."""

import keras
import numpy as np
from keras import ops


def loss_and_gradients(function, x, variables):
    """Value, gradient in `x` and gradients in `variables`, as NumPy."""
    backend = keras.config.backend()
    run = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[backend]
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

    @tf.function(jit_compile=True)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        sources = [x] + [v.value for v in variables]
        return value, *tape.gradient(
            value, sources, unconnected_gradients="zero"
        )

    value, *gradients = run(tf.convert_to_tensor(x))
    return value, *(tf.convert_to_tensor(g).numpy() for g in gradients)


def _torch(function, x, variables):
    import torch

    x = ops.convert_to_tensor(x).detach().clone().requires_grad_()
    sources = [x] + [v.value for v in variables]
    value = function(x)
    gradients = torch.autograd.grad(value, sources, allow_unused=True)
    return value.detach(), *(
        None if g is None else g.detach().cpu() for g in gradients
    )
