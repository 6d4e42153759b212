"""Communication of processes that train one model."""

import json
import random

import keras
import numpy as np

from keras_stts.data import processes
from keras_stts.training import ddp


def this_process():
    """Tuple (index, count) of this process among those that share a model."""
    if ddp.are_several():
        return processes.this_process()
    if keras.distribution.distribution() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def of_all(*numbers):
    """Gather numbers of all processes: list of lists of ints."""
    if this_process()[1] == 1:
        return [list(numbers)]
    if ddp.are_several():
        return exchange(list(numbers))
    from jax.experimental import multihost_utils

    array = np.array(numbers, "int32")
    return np.asarray(multihost_utils.process_allgather(array)).tolist()


def exchange(value):
    """Gather a JSON value of each process: list of them, in order."""
    if this_process()[1] == 1:
        return [value]
    if ddp.are_several():
        return _exchange_torch(value)
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), "uint8")
    sizes = [size for (size,) in of_all(len(text))]
    padded = np.zeros(max(sizes), "uint8")
    padded[: len(text)] = text
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, sizes)]


def _exchange_torch(value):
    import torch

    values = [None] * this_process()[1]
    torch.distributed.all_gather_object(values, value)
    return values


def together(function):
    """Run a function in each process; if it fails in one, it fails in all.

    Args:
        function: Function without arguments, in which processes do not wait
            for others.

    Returns:
        What it returned here.

    Raises:
        ValueError: In the processes where it did not fail, with the reason.
    """
    failure = result = None
    try:
        result = function()
    except (ValueError, OSError) as error:
        failure = error
    reasons = exchange(failure and str(failure))
    if failure is not None:
        raise failure
    for number, reason in enumerate(reasons):
        if reason is not None:
            raise ValueError(f"In process {number} of this job: {reason}")
    return result


def is_first():
    """Whether this process writes for all of them."""
    return this_process()[0] == 0


def own_part(items):
    """The part of a list, one of as many as processes, that is this one's."""
    index, count = this_process()
    size = len(items)
    return items[size * index // count : size * (index + 1) // count]


def draw_alike():
    """Synchronize `random`, from which Keras draws seeds, in all processes.

    Each process makes a part of the random weights of one model.
    """
    if this_process()[1] > 1:
        (seed, *_), *_ = of_all(random.getrandbits(31))
        random.seed(seed)
