"""A model keeps its weights when training stops with an error."""

import contextlib

import keras

from keras_stts import _hub_compat as hub


@contextlib.contextmanager
def keep_variables(model):
    """Restore the weights if an error stops `fit`, `evaluate` or `predict`.

    Under JAX Keras removes them from the model during the run. An error, such
    as a video that cannot be read, can leave a model without weights.
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
        model.jax_state_sync()  # To the weights after the last batch, if any.
        for variable, value in zip(variables, values):
            if not hub.has_value(variable):
                variable.assign(value)
        raise
