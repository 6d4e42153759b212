import keras


class Forward(keras.layers.Layer):
    """The whole forward pass of a backbone as one layer of Keras' graph.

    So Keras and `prefill` run the same method, and parts need no symbolic form
    of their own.

    Args:
        run: Function of a dict of inputs.
        spec: Function of a dict of symbolic inputs that returns the symbolic
            outputs of `run`.
        parts: Dict of name to layer or `None`: the layers that `run` calls.
    """

    def __init__(self, run, spec, parts, **kwargs):
        super().__init__(name="forward", **kwargs)
        # Methods, not the backbone: saving would follow it back to the model.
        self._run = run
        self._spec = spec
        for name, part in parts.items():
            setattr(self, name, part)
        self.built = True

    def call(self, inputs):
        return self._run(inputs)

    def compute_output_spec(self, inputs):
        return self._spec(inputs)
