"""Notes of which kernel ran attention, for reports.

The code that chooses a kernel calls `note`; a report collects the notes inside
`taken`.
"""

import contextlib
import math
from collections import namedtuple

Run = namedtuple(
    "Run",
    [
        "kernel",
        "rows",
        "heads",
        "width",
        "queries",
        "keys",
        "pieces",
        "run_queries",
        "run_keys",
        "reason",
    ],
)
Run.__doc__ = """One call of attention.

Attributes:
    kernel: Str. A name of `keras_stts.config.ATTENTION`.
    rows: Int. Number of rows; a row sees nothing of the others.
    heads: Int. Number of query heads.
    width: Int. Width of a head.
    queries: Int. Queries of a row.
    keys: Int. Keys of a row.
    pieces: Int. Number of pieces of the queries, run one after the other.
    run_queries: Int. Queries of a row, padding of the pieces included.
    run_keys: Int. Keys of a row, padding included; of a kernel that skips
        hidden keys, about how many it runs for each query.
    reason: Str, why another kernel ran than one would expect; or `None`.
"""

_lists = []  # Lists that collect notes, the innermost last.
_reasons = []  # Of the next note.


@contextlib.contextmanager
def taken():
    """Context with a list that gets a `Run` for each call of attention."""
    runs = []
    _lists.append(runs)
    try:
        yield runs
    finally:
        _lists.pop()
        _reasons.clear()


def note(kernel, shape, num_keys, piece=None, *, run_keys=None, reason=None):
    """Note which kernel runs attention, if somebody collects notes.

    Args:
        kernel: Str.
        shape: Tuple (B, S, heads, width) of the queries; B may be a tuple.
        num_keys: Int.
        piece: Int. Queries of a piece. Defaults to all.
        run_keys: Int, see `Run`. Defaults to `num_keys`.
        reason: Str, see `Run`. Defaults to what `because` was told.
    """
    if not _lists:
        return
    rows, length, heads, width = shape
    pieces = -(-length // (piece or length))
    _lists[-1].append(
        Run(
            kernel=kernel,
            rows=math.prod(rows) if isinstance(rows, tuple) else rows,
            heads=heads,
            width=width,
            queries=length,
            keys=num_keys,
            pieces=pieces,
            run_queries=pieces * (piece or length),
            run_keys=run_keys or num_keys,
            reason=reason or (_reasons[-1] if _reasons else None),
        )
    )
    _reasons.clear()


def padded_to(piece, keys):
    """Add to the last note to what lengths it pads queries and keys."""
    if _lists and _lists[-1]:
        last = _lists[-1][-1]
        _lists[-1][-1] = last._replace(
            run_queries=last.pieces * piece, run_keys=keys
        )


def because(reason):
    """Say in advance the `reason` of the next note."""
    if _lists:
        _reasons[:] = [reason]
