"""The batches of an epoch, as numbers of rows."""

from collections import namedtuple

import numpy as np

Batch = namedtuple("Batch", ["rows", "bucket"])
Batch.__doc__ = """The rows of a batch.

Attributes:
    rows: Int64 (batch_size,), numbers of rows; -1 for padding.
    bucket: Int, what its videos are padded to.
"""


def plan_epoch(buckets, batch_size, shard=(0, 1), rng=None):
    """Divide the rows of a table into batches.

    At each step the batches of all shards have the same shape.

    Args:
        buckets: Int array (rows,), a number for what each video is padded
            to, 0 for rows that are left out.
        batch_size: Int, rows of a batch of one shard.
        shard: Tuple (index, count).
        rng: Optional `np.random.Generator` that shuffles rows and batches.
            Without it they keep their order.

    Returns:
        List of the `Batch`es of shard `index`.
    """
    index, count = shard
    order = np.arange(len(buckets))
    if rng is not None:
        order = rng.permutation(order)
    size = batch_size * count
    batches = []
    for bucket in np.unique(buckets[buckets > 0]):
        rows = order[buckets[order] == bucket]
        padded = np.full(-(-len(rows) // size) * size, -1)
        padded[: len(rows)] = rows
        batches += [(bucket, part) for part in padded.reshape(-1, size)]
    if rng is None:
        batches.sort(key=lambda batch: batch[1][0])
    else:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return [Batch(rows[index::count], int(n)) for n, rows in batches]
