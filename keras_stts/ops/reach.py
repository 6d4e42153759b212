"""Which keys each query sees, as ranges instead of a square mask."""

from collections import namedtuple

from keras import ops

Reach = namedtuple(
    "Reach",
    ["start", "stop", "marked_start", "marked_stop", "marked"],
    defaults=[None, None, None, None, None],
)
Reach.__doc__ = """Which keys each query sees; its memory is linear in S and S2.

A query sees the keys from `start` up to but without `stop`, and the marked keys
from `marked_start` up to but without `marked_stop`. `None` stands for the first
key as a start and for all keys as a stop. Without `marked` only the first range
counts; with `marked` and neither `start` nor `stop`, only the second.

Attributes:
    start: Optional int32 tensor (B, S), or (B, 1) if all queries see the same.
    stop: Like `start`.
    marked_start: Like `start`.
    marked_stop: Like `start`.
    marked: Optional bool tensor (B, S2).

Example:
```python
stop = keras.ops.convert_to_tensor([[1, 2, 3]], "int32")
causal = keras_stts.ops.Reach(stop=stop)
keras_stts.ops.reach_mask(causal, size=3)[0, 0]
# [[True, False, False], [True, True, False], [True, True, True]]
```
"""


def differs_by_query(reach):
    """Whether queries of a row see different keys; `None` is all keys."""
    numbers = () if reach is None else reach[:4]
    return any(x is not None and x.shape[1] != 1 for x in numbers)


def reach_mask(reach, size):
    """The square mask of a reach: bool (B, 1, S or 1, size).

    Args:
        reach: A `Reach`, of all queries or of some of them.
        size: Int S2, the number of keys.
    """
    place = ops.arange(size, dtype="int32")
    second = None
    if reach.marked is not None:
        second = ops.cast(reach.marked, "bool")[:, None]
        second = _within(second, place, reach.marked_start, reach.marked_stop)
        if reach.start is None and reach.stop is None:
            return second[:, None]
    first = _within(None, place, reach.start, reach.stop)
    return (first if second is None else first | second)[:, None]


def _within(seen, place, start, stop):
    """(B, S, S2): `seen`, and only the keys from start to stop."""
    for inside in (
        None if start is None else place >= start[..., None],
        None if stop is None else place < stop[..., None],
    ):
        if inside is not None:
            seen = inside if seen is None else seen & inside
    return seen
