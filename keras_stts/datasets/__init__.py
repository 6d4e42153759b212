"""Small worlds of videos that are made, not downloaded."""

from keras_stts.datasets import shapes

__all__ = [
    "shapes",
]
