"""A barrier for XLA, which otherwise reorders what is written."""

import keras


def settled(x):
    """The same tensor, which XLA computes before it is used.

    XLA would move a reshape in front of the sum that made the tensor. Of a
    residual stream it would then keep all terms of the sum, not the sum.
    """
    if keras.config.backend() != "jax":
        return x
    import jax

    return jax.lax.optimization_barrier(x)
