"""Batches of examples in memory: lists and arrays."""

import keras
import numpy as np
from keras import ops


class ArrayDataset(keras.utils.PyDataset):
    """Batches of (dict of arrays or lists, labels, weights)."""

    def __init__(self, data, batch_size, *, shuffle=False):
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.size = num_examples(data)
        self.order = np.arange(self.size)
        self.on_epoch_end()

    @property
    def num_batches(self):
        return -(-self.size // self.batch_size)

    def __getitem__(self, index):
        start = index * self.batch_size
        return take(self.data, self.order[start : start + self.batch_size])

    def on_epoch_end(self):
        if self.shuffle:
            self.order = np.random.permutation(self.size)


def num_examples(data):
    """The number of examples in a tuple (x, y, sample_weight).

    Raises:
        ValueError: If its parts differ in length, or there is no example.
    """
    x, *rest = data
    parts = {**x, **dict(zip(("y", "sample_weight"), rest))}
    sizes = {
        name: "a single one" if isinstance(value, str) else len(value)
        for name, value in parts.items()
        if hasattr(value, "__len__")
    }
    counts = set(sizes.values())
    if len(counts) != 1 or counts & {0, "a single one"}:
        raise ValueError(
            "All parts of the data must be lists or arrays of the same number "
            f"of examples, at least one. Received: {sizes}."
        )
    return counts.pop()


def batch_shape(x, batch_size=None):
    """Tuple (rows of a batch, tokens of a text or `None`) of data, if known.

    Invalid data raise an error later, when they are used.
    """
    if hasattr(x, "element_spec"):
        spec = x.element_spec
        spec = spec[0] if isinstance(spec, tuple) else spec
        shapes = [getattr(s, "shape", None) for s in spec.values()]
        known = [s[0] for s in shapes if s is not None and s.rank]
        return next((size for size in known if size), 1), None
    if not isinstance(x, dict):
        return getattr(x, "batch_size", None) or 1, None
    values = [v for v in x.values() if hasattr(v, "__len__")]
    lengths = [len(v) for v in values if not isinstance(v, (str, bytes))]
    rows = max(min(batch_size or 32, max(lengths, default=1)), 1)
    shape = getattr(x.get("token_ids"), "shape", None)
    return rows, shape[1] if shape is not None and len(shape) == 2 else None


def take(data, chosen):
    """Some examples of a tuple (x, y, sample_weight)."""
    x, *rest = data
    x = {name: _take_rows(value, chosen) for name, value in x.items()}
    return (x, *(_take_rows(value, chosen) for value in rest))


def _take_rows(value, chosen):
    if not hasattr(value, "__len__"):
        return value
    if isinstance(value, (list, tuple)):
        return [value[i] for i in chosen]
    if ops.is_tensor(value):
        value = ops.convert_to_numpy(value)
    return value[chosen]


def split(data, share):
    """Split off the last `share` of a dict's examples for validation."""
    if not isinstance(data[0], dict):
        raise ValueError(
            "`validation_split` needs the examples as a dict. Received: "
            f"{type(data[0]).__name__}. Pass `validation_data`."
        )
    size = num_examples(data)
    cut = int(size * (1 - share))
    if not 0 < cut < size:
        raise ValueError(
            "`validation_split` must leave examples to train and to validate "
            f"on. Received: validation_split={share} of {size} examples."
        )
    return take(data, np.arange(cut)), take(data, np.arange(cut, size))
