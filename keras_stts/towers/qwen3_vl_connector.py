import math

import keras
from keras import ops

from keras_stts.layers.fused import Dense
from keras_stts.layers.fused import LayerNormalization
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.towers.connector import Costs
from keras_stts.towers.shapes import dense
from keras_stts.towers.shapes import layer_norm


@keras.saving.register_keras_serializable(package="keras_stts")
class Qwen3VLConnector(keras.layers.Layer):
    """Makes embeddings of the patches of a block: Qwen3-VL's mergers.

    Args:
        hidden_dim: Int. Width D of the vision transformer.
        output_dim: Int. Width of the language model.
        num_additions: Int n. Layers whose outputs go to the first layers of
            the language model. Defaults to `0`.
        window: Int. Side of a block in patches. Defaults to `2`.
        layer_norm_epsilon: Float.

    Call arguments:
        inputs: Tensor (B, K, g, (n + 1) * D), features of those layers and of
            the last one.
        patch_mask: Must be `None`: blocks are whole.

    Returns:
        List of n + 1 tensors (B, K, output_dim): the embedding, which is put
        in the place of the placeholder's, and what is added to it after each
        of the first n layers of the language model.

    References:
        Qwen3-VL (arXiv 2511.21631), DeepStack (arXiv 2406.04334).
    """

    replaces_embeddings = True

    def __init__(
        self,
        hidden_dim,
        output_dim,
        *,
        num_additions=0,
        window=2,
        layer_norm_epsilon=1e-6,
        **kwargs,
    ):
        super().__init__(**{"name": "connector", **kwargs})
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.num_additions = num_additions
        self.window = window
        self.layer_norm_epsilon = layer_norm_epsilon
        self.mergers = [
            Merger(
                output_dim,
                norm_joined=i < num_additions,
                layer_norm_epsilon=layer_norm_epsilon,
                dtype=self.dtype_policy,
                name=f"addition_{i}" if i < num_additions else "merger",
            )
            for i in range(num_additions + 1)
        ]

    def build(self, input_shape, *args, **kwargs):
        *shape, size, width = input_shape
        wanted = self.window**2, (self.num_additions + 1) * self.hidden_dim
        if (size, width) != wanted:
            raise ValueError(
                "The connector must fit the vision transformer. Received: "
                f"blocks of {size} patches of {width} features, and {wanted} "
                "of a connector with `window`, `hidden_dim` and "
                "`num_additions`."
            )
        for merger in self.mergers:
            merger.build((*shape, size, self.hidden_dim))
        self.built = True

    def call(self, inputs, patch_mask=None):
        if patch_mask is not None:
            raise ValueError("Blocks of Qwen3-VL are whole. Received: a mask.")
        parts = ops.split(inputs, self.num_additions + 1, axis=-1)
        *additions, embedding = (
            merger(part) for merger, part in zip(self.mergers, parts)
        )
        return [embedding, *additions]

    def costs(self, patches, width):
        """What a block takes, see `keras_stts.towers.connector.Costs`."""
        joined = self.window**2 * self.hidden_dim
        number = self.num_additions + 1
        flops = 2 * number * joined * (joined + self.output_dim)
        return Costs(flops, number * joined, 2 * number * joined)

    def weight_shapes(self, sizes):
        """Dict of path to shape of the weights that it is going to have."""
        joined, shapes = self.window**2 * self.hidden_dim, {}
        for merger in self.mergers:
            width = joined if merger.norm_joined else self.hidden_dim
            shapes |= layer_norm(f"{merger.name}/norm", width)
            shapes |= dense(f"{merger.name}/up", joined, joined)
            shapes |= dense(f"{merger.name}/down", joined, self.output_dim)
        return shapes

    def get_config(self):
        names = ("hidden_dim", "output_dim", "num_additions", "window")
        names += ("layer_norm_epsilon",)
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own}


class Merger(keras.layers.Layer):
    """Normalises the patches of a block, joins them, and runs an MLP.

    Args:
        output_dim: Int.
        norm_joined: Bool. Whether they are joined before.
        layer_norm_epsilon: Float.

    Call arguments:
        inputs: Tensor (..., g, D).

    Returns:
        Tensor (..., output_dim).
    """

    def __init__(
        self, output_dim, *, norm_joined, layer_norm_epsilon, **kwargs
    ):
        super().__init__(**kwargs)
        self.norm_joined = norm_joined
        self.norm = LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="norm"
        )
        self.output_dim = output_dim

    def build(self, input_shape):
        *shape, size, width = input_shape
        joined = (*shape, size * width)
        self.norm.build(joined if self.norm_joined else input_shape)
        self.up, self.down = (
            Dense(
                units,
                kernel_initializer=glorot_initializer(),
                dtype=self.dtype_policy,
                name=name,
            )
            for units, name in ((size * width, "up"), (self.output_dim, "down"))
        )
        self.up.build(joined)
        self.down.build(joined)
        self.built = True

    def call(self, inputs):
        joined = (-1, *inputs.shape[1:-2], math.prod(inputs.shape[-2:]))
        if self.norm_joined:
            x = self.norm(ops.reshape(inputs, joined))
        else:
            x = ops.reshape(self.norm(inputs), joined)
        x = keras.activations.gelu(self.up(x), approximate=False)
        return self.down(x)
