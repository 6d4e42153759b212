"""KerasHub's SigLIP as a tower."""

import keras
import keras_hub
from keras import ops

from keras_stts.towers.tower_block import TowerBlock
from keras_stts.towers.vision_tower import VisionTower


@keras.saving.register_keras_serializable(package="keras_stts")
class SigLIPTower(VisionTower):
    """The layers of KerasHub's SigLIP vision encoder, as a tower.

    Its head and the normalisation after its last layer are not used.

    Args:
        encoder: A `keras_hub.models.SigLIPVisionEncoder`, whose weights
            become those of the tower.
        feature_layers: See `VisionTower`.
        window: See `VisionTower`.
        pixel_mean: Float. Subtracted from pixels of [0, 1]. Defaults to
            `0.5`.
        pixel_std: Float. What that is divided by. Defaults to `0.5`.
        rematerialize: Bool. Whether training computes layers again for their
            gradients instead of keeping what they compute on the way.

    Call arguments, returns: See `VisionTower`.

    Example:
    ```python
    import keras_hub

    encoder = keras_hub.models.SigLIPVisionEncoder(
        patch_size=16,
        hidden_dim=32,
        num_layers=4,
        num_heads=2,
        intermediate_dim=64,
        image_shape=(80, 80, 3),
    )
    tower = keras_stts.towers.SigLIPTower(encoder, feature_layers=[3])
    frames = np.zeros((1, 2, 80, 80, 3), "uint8")
    tower(frames)["features"].shape  # (1, 8, 9, 32)
    ```

    Reference:
        SigLIP (arXiv 2303.15343).
    """

    def __init__(
        self,
        encoder,
        feature_layers,
        *,
        window=3,
        pixel_mean=0.5,
        pixel_std=0.5,
        rematerialize=False,
        dtype=None,
        **kwargs,
    ):
        if isinstance(encoder, dict):
            encoder = _encoder_of(encoder, dtype)
        super().__init__(
            image_size=encoder.image_shape[0],
            patch_size=encoder.patch_size,
            hidden_dim=encoder.hidden_dim,
            num_heads=encoder.num_heads,
            intermediate_dim=encoder.intermediate_dim,
            feature_layers=feature_layers,
            window=window,
            rematerialize=rematerialize,
            dtype=encoder.dtype_policy,
            **kwargs,
        )
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.num_layers = encoder.num_layers
        self.head_dim = encoder.hidden_dim // encoder.num_heads
        self.embedding = encoder.embedding
        self.blocks = [
            SigLIPBlock(each, rematerialize=rematerialize)
            for each in encoder.encoder_layers
        ]
        self.encoder_config = keras.saving.serialize_keras_object(encoder)
        self.check_feature_layers()

    def build(self, input_shape=None):
        self.built = True  # The layers are.

    def embed(self, inputs, frames=None):
        _, num_frames, *shape = inputs.shape
        x = ops.cast(ops.reshape(inputs, (-1, *shape)), "float32") / 255.0
        x = (x - self.pixel_mean) / self.pixel_std
        x = self.embedding(ops.cast(x, self.compute_dtype))
        return ops.reshape(x, (-1, num_frames, *self.patches_shape))

    def get_config(self):
        config = super().get_config()
        names = ("window", "feature_layers", "rematerialize")
        names += ("name", "trainable", "dtype")
        return {
            **{name: config[name] for name in names},
            "encoder": self.encoder_config,
            "pixel_mean": self.pixel_mean,
            "pixel_std": self.pixel_std,
        }


def _encoder_of(config, dtype):
    """An encoder of its config, of another dtype if one is given."""
    inner = dict(config["config"])
    if dtype is not None:
        inner["dtype"] = dtype
    return keras_hub.models.SigLIPVisionEncoder.from_config(inner)


class SigLIPBlock(TowerBlock):
    """A layer of KerasHub's SigLIP, which leaves attention open.

    Args:
        layer: One of `keras_hub.models.SigLIPVisionEncoder.encoder_layers`.
        rematerialize: Bool, see `SigLIPTower`.

    Call arguments, returns: See `keras_stts.towers.TowerBlock`.
    """

    def __init__(self, layer, *, rematerialize=False):
        super().__init__(
            rematerialize=rematerialize,
            name=layer.name,
            dtype=layer.dtype_policy,
        )
        self.layer = layer
        self.built = True

    def attended(self, inputs, attend):
        heads = self.layer.self_attn
        x = self.layer.layer_norm1(inputs)
        key = heads.key_dense(x)
        x = attend(heads.query_dense(x), key, heads.value_dense(x))
        return inputs + heads.output_dense(x), key

    def mlp(self, x):
        return x + self.layer.mlp(self.layer.layer_norm2(x))
