"""Counting the memory of a model from its sizes, without running it."""

from keras_stts.memory.estimate import count_memory
from keras_stts.memory.report import Memory

__all__ = ["Memory", "count_memory"]
