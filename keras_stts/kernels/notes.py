"""What runs attention, noted by what decides it and read by reports."""

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
    kernel: Str, of `keras_stts.config.ATTENTION`.
    rows: Int, sequences of their own.
    heads: Int, of queries.
    width: Int, of a head.
    queries: Int. Queries of a row.
    keys: Int. Keys of a row.
    pieces: Int. Pieces of the queries that are run one after the other.
    run_queries: Int. Queries of a row with the padding of pieces.
    run_keys: Int. Keys of a row with padding, or those about that a kernel
        runs for each query where it leaves others out.
    reason: Str, why not the kernel that was to be expected, or `None`.
"""

_lists = []  # Those that take notes, the innermost last.
_reasons = []  # Of what runs next.


@contextlib.contextmanager
def taken():
    """Gives a list that takes a `Run` for each call of attention inside."""
    runs = []
    _lists.append(runs)
    try:
        yield runs
    finally:
        _lists.pop()
        _reasons.clear()


def note(kernel, shape, num_keys, piece=None, *, run_keys=None, reason=None):
    """Note what runs attention; nothing, if nobody asks.

    Args:
        kernel: Str.
        shape: Tuple (B, S, heads, width) of the queries; B may be a tuple.
        num_keys: Int.
        piece: Int. Queries that are run at once. Defaults to all.
        run_keys: Int, see `Run`. Defaults to `num_keys`.
        reason: Str, see `Run`. Defaults to what was said before.
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
    """Note to what lengths the last one pads a piece of queries and keys."""
    if _lists and _lists[-1]:
        last = _lists[-1][-1]
        _lists[-1][-1] = last._replace(
            run_queries=last.pieces * piece, run_keys=keys
        )


def because(reason):
    """Note why what is noted next is not what was to be expected."""
    if _lists:
        _reasons[:] = [reason]
