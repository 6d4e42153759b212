import keras


class Forward(keras.Operation):
    """The whole forward pass of a backbone, one node of Keras' graph.

    So what runs is the same method whether Keras calls the model or `prefill`
    does, and no part needs a symbolic form of its own.

    Args:
        run: Function of the dict of inputs.
        spec: Function of their symbols, to those of what `run` returns.
    """

    def __init__(self, run, spec):
        super().__init__(name="forward")
        # Methods: Keras' saving would walk from an object back to the model.
        self._run = run
        self._spec = spec

    def call(self, inputs):
        return self._run(inputs)

    def compute_output_spec(self, inputs):
        return self._spec(inputs)
