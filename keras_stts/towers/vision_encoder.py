import keras
from keras import ops

from keras_stts.kernels.settled import settled
from keras_stts.layers.fused import Dense
from keras_stts.layers.initializers import glorot_initializer
from keras_stts.layers.initializers import normal_initializer
from keras_stts.towers.patches import by_pixel
from keras_stts.towers.patches import patchify
from keras_stts.towers.vision_block import VisionBlock
from keras_stts.towers.vision_tower import VisionTower


@keras.saving.register_keras_serializable(package="keras_stts")
class VisionEncoder(VisionTower):
    """The vision transformer of Molmo2, a SigLIP 2.

    Args:
        num_layers: Int. Number of transformer layers.
        hidden_dim: Int. Width D.
        num_heads: Int.
        head_dim: Int.
        intermediate_dim: Int. Width of the MLPs, and of STTS' scorer's.
        image_size, patch_size, feature_layers, window: See `VisionTower`.
        pixel_mean: Float, or one for each of red, green and blue. Subtracted
            from pixels of [0, 1]. Defaults to `0.5`.
        pixel_std: As `pixel_mean`. What that is divided by.
        activation: Str. Activation of the MLPs, one of
            `keras_stts.layers.activations`.
        layer_norm_epsilon: Float.
        rematerialize: Bool. Whether training computes layers again for their
            gradients instead of keeping what they compute on the way.

    Call arguments, returns: See `VisionTower`.

    Reference:
        SigLIP 2 as in Molmo2 (arXiv 2601.10611).
    """

    def __init__(
        self,
        num_layers,
        hidden_dim,
        *,
        num_heads,
        head_dim,
        intermediate_dim,
        image_size,
        patch_size,
        feature_layers,
        window=3,
        pixel_mean=0.5,
        pixel_std=0.5,
        activation="gelu_pytorch_tanh",
        layer_norm_epsilon=1e-6,
        rematerialize=False,
        **kwargs,
    ):
        super().__init__(
            image_size=image_size,
            patch_size=patch_size,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            intermediate_dim=intermediate_dim,
            feature_layers=feature_layers,
            window=window,
            rematerialize=rematerialize,
            **kwargs,
        )
        self.num_layers = num_layers
        self.head_dim = head_dim
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.patch_embedding = Dense(
            hidden_dim,
            kernel_initializer=glorot_initializer(),
            dtype=self.dtype_policy,
            name="patch_embedding",
        )
        self.blocks = [
            VisionBlock(
                num_heads,
                head_dim,
                intermediate_dim,
                activation,
                layer_norm_epsilon,
                rematerialize=rematerialize,
                dtype=self.dtype_policy,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.check_feature_layers()

    def build(self, input_shape=None):
        num_patches, width = self.patches_shape
        self.patch_embedding.build((None, None, self.patch_size**2 * 3))
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(num_patches, width),
            initializer=normal_initializer(),
        )
        super().build(input_shape)

    def embed(self, inputs, frames=None):
        # Bytes are moved, not the numbers that they become.
        x = settled(patchify(inputs, self.patch_size))
        x = ops.cast(x, "float32")
        mean, std = (
            by_pixel(value, self.patch_size)
            for value in (self.pixel_mean, self.pixel_std)
        )
        x = (x / 255.0 - mean) / std
        x = self.patch_embedding(ops.cast(x, self.compute_dtype))
        return x + ops.cast(self.position_embedding, x.dtype)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_layers": self.num_layers,
                "head_dim": self.head_dim,
                "pixel_mean": self.pixel_mean,
                "pixel_std": self.pixel_std,
                "activation": self.activation,
                "layer_norm_epsilon": self.layer_norm_epsilon,
            }
        )
        return config
