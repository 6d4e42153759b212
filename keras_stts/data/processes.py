"""The rank of this process among those of a distributed job."""

import json
import os

import keras


def this_process():
    """Tuple (index, count) of this process among those of the job.

    JAX and PyTorch know it once the job is initialized
    (`keras.distribution.initialize`, `jax.distributed.initialize`,
    `torch.distributed.init_process_group`). Before that it is read from the
    environment variables that `torchrun` sets, or TensorFlow's `TF_CONFIG`.

    Raises:
        ValueError: If these variables are invalid.
    """
    index, count = PROCESSES[keras.config.backend()]()
    if not 0 <= index < count:
        raise ValueError(
            "A process must be one of its job's, counted from 0. "
            f"Received: process {index} of {count}. Check how it was started."
        )
    return index, count


def _of_jax():
    import jax

    return jax.process_index(), jax.process_count()


def _of_torch():
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    found = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE")]
    if None in found:
        return 0, 1
    try:
        return int(found[0]), int(found[1])
    except ValueError as error:
        raise ValueError(
            "`RANK` and `WORLD_SIZE` must be whole numbers. Received: "
            f"{found[0]!r} and {found[1]!r}. Check how it was started."
        ) from error


def _of_tensorflow():
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0, 1
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        # As TensorFlow counts them: the chief is the first worker.
        chiefs, workers = (
            len(cluster.get(name, ())) for name in ("chief", "worker")
        )
        before = {"chief": 0, "worker": chiefs}[task["type"]]
        return before + int(task["index"]), chiefs + workers
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "`TF_CONFIG` must be JSON with a cluster and a task, of a chief or "
            f"a worker. Received: {text[:300]!r} ({type(error).__name__}: "
            f"{error}). Correct it, or pass `shard=(index, count)`."
        ) from error


PROCESSES = {
    "jax": _of_jax,
    "tensorflow": _of_tensorflow,
    "torch": _of_torch,
}
