"""Small data sets of videos that are rendered, not downloaded."""

from keras_stts.datasets import shapes

__all__ = [
    "shapes",
]
