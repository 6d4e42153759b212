"""Which keys a query sees, as numbers of a query instead of a square mask."""

from collections import namedtuple

from keras import ops

Reach = namedtuple(
    "Reach",
    ["start", "stop", "marked_start", "marked_stop", "marked"],
    defaults=[None, None, None, None, None],
)
Reach.__doc__ = """Which keys each query sees; linear in their number.

A query sees the keys from `start` to before `stop`, and of those from
`marked_start` to before `marked_stop` the marked ones. `None` stands for the
first key as a start, for all keys as a stop. Without `marked` there is the
first range alone; with `marked` and neither `start` nor `stop`, the second.

Attributes:
    start: Optional int32 tensor (B, S), or (B, 1) if all queries see alike.
    stop: As `start`.
    marked_start: As `start`.
    marked_stop: As `start`.
    marked: Optional bool tensor (B, S2).
"""


def differs_by_query(reach):
    """Whether queries of a row see different keys; `None` sees all."""
    numbers = () if reach is None else reach[:4]
    return any(x is not None and x.shape[1] != 1 for x in numbers)


def reach_mask(reach, size):
    """The square that a reach stands for: bool (B, 1, S or 1, size).

    Args:
        reach: A `Reach`, all of it or of some of its queries.
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
    """(B, S, S2): what is seen, and of the keys from start to stop."""
    for inside in (
        None if start is None else place >= start[..., None],
        None if stop is None else place < stop[..., None],
    ):
        if inside is not None:
            seen = inside if seen is None else seen & inside
    return seen
