"""A ranking method as a user writes one."""

import keras

import keras_stts


@keras.saving.register_keras_serializable("my_project")
class Contrast(keras_stts.pruning.Ranking):
    """Blocks unlike the rest of their frame stay."""

    place = "connector"

    def __init__(self, power=2, **kwargs):
        super().__init__(**kwargs)
        self.power = power

    def call(self, blocks, frames=keras_stts.ops.Frames()):
        real = keras.ops.cast(frames.real(blocks), "float32")[..., None]
        count = keras.ops.sum(real, axis=2, keepdims=True)
        total = keras.ops.sum(blocks * real, axis=2, keepdims=True)
        mean = total / keras.ops.maximum(count, 1.0)
        distance = keras.ops.abs(blocks - mean) ** self.power
        return keras.ops.sum(distance, axis=-1)

    def get_config(self):
        return {**super().get_config(), "power": self.power}
