"""Checks of the arguments of `VideoDataset`, and its error messages."""

import re

from keras_stts.data.processes import this_process
from keras_stts.data.source import name_of

POLICIES = ("raise", "skip", "report")


def words(error):
    """The message of an error, without the arrays that Keras adds."""
    found = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
    return found[1] if found else str(error)


def names_row(row, message):
    """Whether a message says which row it is about, or which file."""
    video = row.get("video")
    names = [f"row {row['id']}"]
    if video is not None:
        names.append(name_of(video))
    return any(name and name in message for name in names)


def named(rows):
    """Rows with an `"id"`, which defaults to their number."""
    rows = list(rows)
    wrong = [row for row in rows if not isinstance(row, dict)]
    if wrong:
        raise ValueError(
            "`rows` must be dicts, as `keras_stts.data.read_manifest` gives "
            f"them. Received: a {type(wrong[0]).__name__}."
        )
    return [
        row if row.get("id") is not None else {**row, "id": f"row {i + 1}"}
        for i, row in enumerate(rows)
    ]


def part_of_job(shard):
    """Tuple (index, count): the part of the rows that this process reads."""
    if isinstance(shard, str) and shard == "auto":
        return this_process()
    if isinstance(shard, (tuple, list)) and len(shard) == 2:
        return tuple(shard)
    raise ValueError(
        f'`shard` must be (index, count) or "auto". Received: shard={shard!r}.'
    )


def check_arguments(rows, batch_size, shard, *, on_error, report):
    """Raise a ValueError if a `VideoDataset` cannot be made of these."""
    if not len(rows):
        raise ValueError("`rows` must not be empty. Received: no row.")
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be positive. Received: {batch_size}."
        )
    index, count = shard
    if not 0 <= index < count <= len(rows):
        raise ValueError(
            "`shard` must be (index, count), 0 <= index < count <= number of "
            f"rows. Received: shard={tuple(shard)} and {len(rows)} rows."
        )
    if on_error not in POLICIES:
        raise ValueError(
            f"`on_error` must be one of {', '.join(POLICIES)}. Received: "
            f"on_error={on_error!r}."
        )
    if (on_error == "report") != (report is not None):
        raise ValueError(
            '`report` is needed with on_error="report", and only then. '
            f"Received: on_error={on_error!r}, report={report!r}."
        )
