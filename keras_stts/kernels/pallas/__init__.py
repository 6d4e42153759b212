"""Attention on TPUs: Pallas kernels that make no logits in memory."""

from keras_stts.kernels.pallas.attention import pallas_attention

__all__ = ["pallas_attention"]
