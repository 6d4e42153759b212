"""A model keeps its weights when training stops with an error."""

import contextlib

import keras

from keras_stts import _hub_compat as hub


@contextlib.contextmanager
def keep_variables(model):
    """Puts the weights back if an error stops `fit`, `evaluate`, `predict`.

    Under JAX Keras takes them off the model while it runs, and can leave a
    model without weights if, say, a video cannot be read.
    """
    if keras.config.backend() != "jax":
        yield
        return
    variables = model.variables + model.metrics_variables
    if model.compiled:
        variables = variables + model.optimizer.variables
    values = [variable.value for variable in variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()  # To those after the last batch, if any.
        for variable, value in zip(variables, values):
            if not hub.has_value(variable):
                variable.assign(value)
        raise
