"""Attention on TPUs: Pallas kernels that never write the logits to memory."""

from keras_stts.kernels.pallas.attention import pallas_attention

__all__ = ["pallas_attention"]
