"""Batches of questions, of sizes for which few programs are compiled."""

import keras
import numpy as np

from keras_stts.models import cuda_graphs
from keras_stts.models.backbone_bounds import is_int
from keras_stts.preprocessing.examples import is_single
from keras_stts.training import arrays

# A program for at most so many times the rows is used again.
MOST_PADDING = 16


class BatchSizes:
    """Remembers the batches that a function was called with.

    Args:
        function: What is compiled once for each set of shapes.
    """

    def __init__(self, function):
        self.function = function
        self._seen = {}

    def rows_for(self, inputs):
        """Rows to fill up to: of the smallest batch of the same shapes that
        was run before, or as many as there are.

        Args:
            inputs: Dict of arrays (B, ...).
        """
        size, shapes = len(inputs["token_ids"]), {}
        for name, value in inputs.items():
            tensors = keras.tree.flatten(value)
            shapes[name] = [(tuple(x.shape)[1:], str(x.dtype)) for x in tensors]
            if name == "prefix":  # All texts may share it.
                shapes[name].append(len(tensors[0]) == 1)
        seen = self._seen.setdefault(repr(sorted(shapes.items())), set())
        fits = [n for n in seen if size <= n <= MOST_PADDING * size]
        rows = min(fits, default=size)
        seen.add(rows)
        return rows


def is_compiled(model):
    """Whether `generate` runs a program of fixed shapes."""
    if model.run_eagerly:
        return False
    return keras.config.backend() != "torch" or cuda_graphs.wanted(model)


def in_batches(answer, inputs, batch_size):
    """`answer(batch)` of some rows at a time, joined.

    Args:
        answer: Function of a dict of lists or arrays that returns a list, or
            a dict of arrays.
        inputs: What `generate` takes.
        batch_size: Int.

    Raises:
        ValueError: If `batch_size` is no number of questions, or the inputs
            are not a dict.
    """
    if not is_int(batch_size, 1, 2**20) or not isinstance(inputs, dict):
        kind = type(inputs).__name__
        raise ValueError(
            "`batch_size` must be a number of questions, 1 at least, of a dict "
            f"of lists. Received: batch_size={batch_size!r}, inputs of type "
            f"{kind}. A data set has batches of its own."
        )
    if is_single(inputs.get("prompts")):
        return answer(inputs)
    size = arrays.num_examples((inputs,))
    parts = []
    for start in range(0, size, batch_size):
        chosen = np.arange(start, min(start + batch_size, size))
        parts.append(answer(arrays.take((inputs,), chosen)[0]))
    if isinstance(parts[0], dict):
        return {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }
    return [text for part in parts for text in part]
