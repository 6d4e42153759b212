import keras
from keras import ops

from keras_stts.kernels.choice import chosen_kernel
from keras_stts.kernels.notes import note
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import scorer_initializer


@keras.saving.register_keras_serializable(package="keras_stts")
class TokenPooler(keras.layers.Layer):
    """Pools the patches of each block into one vector by attention.

    The query is the mean of the block's patches; the patches are keys and
    values.

    Args:
        num_heads: Int. Number of attention heads.
        head_dim: Optional int. Width of a head. Defaults to the input's
            width over `num_heads`.
        output_dim: Optional int. Defaults to the input's width.

    Call arguments:
        inputs: Tensor (..., g, D), the g patches of each block, see
            `keras_stts.ops.to_blocks`.
        mask: Optional bool tensor broadcast to (..., g), False for padding.
            Each block has at least one patch.

    Returns:
        Tensor (..., output_dim).

    Raises:
        ValueError: If `num_heads` does not divide the width of the inputs and
            `head_dim` is not given.

    Example:
    ```python
    patches = np.random.rand(1, 2, 36, 16)  # Two frames of 6x6 patches.
    blocks = keras_stts.ops.to_blocks(patches, window=3)
    pooled = keras_stts.layers.TokenPooler(num_heads=2)(blocks)
    pooled.shape  # (1, 2, 4, 16)
    ```

    Reference:
        STTS (arXiv 2603.18004), the scorer's pooling; Molmo2
        (arXiv 2601.10611), the connector's.
    """

    def __init__(self, num_heads, head_dim=None, output_dim=None, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.output_dim = output_dim
        self.supports_masking = True

    def build(self, input_shape):
        width = input_shape[-1]
        if self.head_dim is None and width % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the width of the input, or `head_dim`"
                f" is needed. Received: num_heads={self.num_heads} and inputs "
                f"of shape {tuple(input_shape)}."
            )
        self._head_dim = self.head_dim or width // self.num_heads
        inner = self.num_heads * self._head_dim
        outer = self.output_dim or width
        names = {"query": inner, "key": inner, "value": inner}
        for name, units in names.items():
            setattr(self, name, self._dense(units, name))
            getattr(self, name).build((None, width))
        self.output_dense = self._dense(outer, "output_dense")
        self.output_dense.build((None, inner))
        self.built = True

    def _dense(self, units, name):
        return Dense(
            units,
            kernel_initializer=scorer_initializer(),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, inputs, mask=None):
        mean, weights = _mean_of_patches(inputs, mask)
        query = self._split_heads(self.query(mean))  # (..., h, d)
        key = self._split_heads(self.key(inputs))  # (..., g, h, d)
        value = self.value(inputs)  # (..., g, h * d)
        # One query for each block: a product and a sum are enough. They are in
        # float32, as features that are not normalized can be large.
        query = ops.cast(ops.expand_dims(query, -3), "float32")
        *rows, size = inputs.shape[:-1]
        note("elementwise", (tuple(rows), 1, *query.shape[-2:]), size)
        product = query * ops.cast(key, "float32")
        logits = ops.sum(product, axis=-1) * self._head_dim**-0.5
        if mask is not None:
            logits = ops.where(ops.expand_dims(weights > 0, -1), logits, -1e30)
        share = ops.softmax(logits, axis=-2)  # (..., g, h)
        pooled = self._sum_of_patches(ops.cast(share, value.dtype), value)
        return self.output_dense(pooled)

    def _sum_of_patches(self, share, value):
        """Shares (..., g, h) of values (..., g, h * d) -> (..., h * d)."""
        if chosen_kernel() == "pallas":
            # On TPUs this product is cheaper than a reshape to (h, d) and
            # back.
            share = ops.matmul(share, self._lanes_of_heads(share.dtype))
            return ops.sum(share * value, axis=-2)
        share = ops.expand_dims(share, -1)
        pooled = ops.sum(share * self._split_heads(value), axis=-3)
        shape = (*ops.shape(pooled)[:-2], self.num_heads * self._head_dim)
        return ops.reshape(pooled, shape)

    def _lanes_of_heads(self, dtype):
        """(h, h * d), 1 where a column belongs to a head."""
        eye = ops.eye(self.num_heads, dtype=dtype)
        return ops.repeat(eye, self._head_dim, axis=-1)

    def _split_heads(self, x):
        shape = (*ops.shape(x)[:-1], self.num_heads, self._head_dim)
        return ops.reshape(x, shape)

    def compute_mask(self, inputs, previous_mask=None):
        return None  # Every block has a vector.

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-2], self.output_dim or input_shape[-1])

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_heads": self.num_heads,
                "head_dim": self.head_dim,
                "output_dim": self.output_dim,
            }
        )
        return config


def pooling_flops(width, inner, output_dim, num_blocks, num_patches):
    """Floating point operations of a `TokenPooler`, its softmax left out.

    Args:
        width: Int. Of a patch.
        inner: Int. Of all heads.
        output_dim: Int.
        num_blocks: Int.
        num_patches: Int. Patches of a block.
    """
    each = width * inner * (1 + 2 * num_patches) + 2 * inner * num_patches
    return 2 * num_blocks * (each + inner * output_dim)


def _mean_of_patches(x, mask):
    """Mean over the patches without padding, and their weights (..., g)."""
    if mask is None:
        return ops.mean(x, axis=-2), None
    weights = ops.cast(mask, x.dtype)
    weights = ops.broadcast_to(weights, ops.shape(x)[:-1])
    total = ops.sum(weights, axis=-1, keepdims=True)
    mean = ops.sum(x * ops.expand_dims(weights, -1), axis=-2) / total
    return mean, weights
