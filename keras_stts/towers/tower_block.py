import functools

import keras

from keras_stts.ops import attention


class TowerBlock(keras.layers.Layer):
    """A layer of a vision tower, which leaves attention open.

    A subclass says what its halves are, `attended` and `mlp`.

    Args:
        rematerialize: Bool. Whether training computes the layer again for
            its gradient instead of keeping what is inside of it.

    Call arguments:
        inputs: Tensor (rows, n, D).
        attend: Optional function of query, key, value (rows, n, heads,
            head_dim). Defaults to attention within each row.
        merge: Optional function of what attention made of the tokens and of
            their keys, that returns fewer tokens and anything else.
        bias: Optional tensor that `attend` takes as `bias`, and that has a
            gradient. Not together with `merge`.

    Returns:
        Tensor (rows, n, D); with `merge` a tuple of that and of what else
        it returned.

    Example:
    ```python
    class LinearBlock(keras_stts.towers.TowerBlock):
        '''Attention without weights, and a linear layer.'''

        def build(self, input_shape):
            self.dense = keras.layers.Dense(input_shape[-1])
            self.dense.build(input_shape)
            self.built = True

        def attended(self, inputs, attend):
            heads = inputs[:, :, None]
            return inputs + attend(heads, heads, heads)[:, :, 0], heads

        def mlp(self, x):
            return x + self.dense(x)

    LinearBlock()(np.ones((2, 9, 16), "float32")).shape  # (2, 9, 16)
    ```
    """

    def __init__(self, *, rematerialize=False, **kwargs):
        super().__init__(**kwargs)
        self.rematerialize = rematerialize

    def attended(self, inputs, attend):
        """The first half.

        Args:
            inputs: Tensor (rows, n, D).
            attend: See the call arguments.

        Returns:
            Tuple of a tensor (rows, n, D), inputs and what attention made of
            them; and the keys (rows, n, heads, head_dim).
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement "
            "`attended(inputs, attend)`."
        )

    def mlp(self, x):
        """The second half: (rows, n, D) to (rows, n, D)."""
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `mlp(x)`."
        )

    def call(self, inputs, attend=attention, merge=None, bias=None):
        remat = keras.remat if self.rematerialize else lambda run: run
        if bias is not None:
            # TensorFlow needs what has a gradient by place.
            return remat(functools.partial(self._biased, attend=attend))(
                inputs, bias
            )
        attended = functools.partial(self.attended, attend=attend)
        if merge is None:
            return remat(lambda x: self.mlp(attended(x)[0]))(inputs)
        x, rest = merge(*remat(attended)(inputs))
        return remat(self.mlp)(x), rest

    def _biased(self, inputs, bias, attend):
        attend = functools.partial(attend, bias=bias)
        return self.mlp(self.attended(inputs, attend)[0])
