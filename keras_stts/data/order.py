"""Which rows of a table make which batch of an epoch."""

from collections import namedtuple

import numpy as np

Batch = namedtuple("Batch", ["rows", "num_frames"])
Batch.__doc__ = """What a batch is made of.

Attributes:
    rows: Int64 (batch_size,), numbers of rows; -1 where none is left.
    num_frames: Int, frames that its videos are padded to.
"""


def plan_epoch(buckets, batch_size, shard=(0, 1), rng=None):
    """Cut the rows of a table into batches.

    The batches of all shards are cut together: at each step all of them have
    one shape.

    Args:
        buckets: Int array (rows,), frames that each video is padded to, 0 for
            rows that are left out.
        batch_size: Int, of one shard.
        shard: Tuple (index, count).
        rng: Optional `np.random.Generator` that settles the order. Without
            it rows and batches keep theirs.

    Returns:
        List of `Batch`, of shard `index`.
    """
    index, count = shard
    order = np.arange(len(buckets))
    if rng is not None:
        order = rng.permutation(order)
    size = batch_size * count
    batches = []
    for num_frames in np.unique(buckets[buckets > 0]):
        rows = order[buckets[order] == num_frames]
        padded = np.full(-(-len(rows) // size) * size, -1)
        padded[: len(rows)] = rows
        batches += [(num_frames, part) for part in padded.reshape(-1, size)]
    if rng is None:
        batches.sort(key=lambda batch: batch[1][0])
    else:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return [Batch(rows[index::count], int(n)) for n, rows in batches]
