"""Keras' layers, each in one kernel under PyTorch; LoRA in two small products.

PyTorch launches operations one by one. Keras' own layers add a bias after the
product, and cast to float32 and back around a normalization: on an H200 these
took a quarter of the time of a vision transformer's layer. The kernels below
add the bias in float32 before the product is rounded, and normalize in
float32.
"""

import keras
from keras import ops

from keras_stts import _hub_compat as hub


@keras.saving.register_keras_serializable(package="keras_stts")
class Dense(keras.layers.Dense):
    """See `keras.layers.Dense`.

    With LoRA, Keras adds the product of the factors to the kernel. That takes
    a second kernel, and in training its whole gradient, as long and as much
    work as that of a layer that is trained. Here inputs are multiplied by the
    factors, one after the other.
    """

    def call(self, inputs, training=None):
        if self.lora_enabled:
            return self._call_with_factors(inputs)
        if keras.config.backend() != "torch" or self.bias is None:
            return super().call(inputs, training)
        import torch

        kernel, bias = map(ops.convert_to_tensor, (self.kernel, self.bias))
        x = torch.nn.functional.linear(inputs, kernel.T, bias)
        return x if self.activation is None else self.activation(x)

    def _call_with_factors(self, inputs):
        x = ops.matmul(inputs, hub.own_variable(self, "kernel"))
        # In float32, whatever the dtype of the kernel is.
        a, b = self.lora_kernel_a, self.lora_kernel_b
        low = ops.matmul(inputs, ops.cast(a, inputs.dtype))
        more = ops.matmul(low, ops.cast(b, inputs.dtype))
        x = x + more * (self.lora_alpha / self.lora_rank)
        x = x if self.bias is None else x + self.bias
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras refuses subclasses, which may compute something else.
        return super().quantize(mode, type_check=False, config=config)


@keras.saving.register_keras_serializable(package="keras_stts")
class LayerNormalization(keras.layers.LayerNormalization):
    """See `keras.layers.LayerNormalization`; over the last axis."""

    def call(self, inputs):
        if keras.config.backend() != "torch":
            return super().call(inputs)
        import torch

        gamma, beta = map(ops.convert_to_tensor, (self.gamma, self.beta))
        return torch.nn.functional.layer_norm(
            inputs, inputs.shape[-1:], gamma, beta, self.epsilon
        )


@keras.saving.register_keras_serializable(package="keras_stts")
class RMSNormalization(keras.layers.RMSNormalization):
    """See `keras.layers.RMSNormalization`; over the last axis."""

    def call(self, x):
        if keras.config.backend() != "torch":
            return super().call(x)
        import torch

        scale = ops.convert_to_tensor(self.scale)
        return torch.nn.functional.rms_norm(
            x, x.shape[-1:], scale, self.epsilon
        )
