import keras


class Forward(keras.layers.Layer):
    """The whole forward pass of a backbone, one layer of Keras' graph.

    So what runs is the same method whether Keras calls the model or `prefill`
    does, and no part needs a symbolic form of its own.

    Args:
        run: Function of the dict of inputs.
        spec: Function of their symbols, to those of what `run` returns.
        parts: Dict of name to layer, those that `run` calls, or `None`.
    """

    def __init__(self, run, spec, parts, **kwargs):
        super().__init__(name="forward", **kwargs)
        # Methods: Keras' saving would walk from an object back to the model.
        self._run = run
        self._spec = spec
        for name, part in parts.items():
            setattr(self, name, part)
        self.built = True

    def call(self, inputs):
        return self._run(inputs)

    def compute_output_spec(self, inputs):
        return self._spec(inputs)
