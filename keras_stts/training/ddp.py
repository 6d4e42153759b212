"""PyTorch's `DistributedDataParallel`, in which Keras 3.16 wraps models.

Each process has all weights and batches of its own. The gradients are the mean
of the processes' gradients.
"""

import contextlib

import keras

from keras_stts.data.processes import this_process
from keras_stts.ops import replicas
from keras_stts.training import shares
from keras_stts.training.mirrored import check_loss


def are_several():
    """Whether this is one of several processes that PyTorch has connected."""
    if keras.config.backend() != "torch":
        return False
    import torch.distributed as distributed

    there = distributed.is_available() and distributed.is_initialized()
    return there and this_process()[1] > 1


def check(model):
    """Raise if a model cannot be trained in several processes.

    Raises:
        ValueError: If Keras would train each alone, or the loss is a mean
            over weights that processes do not know of.
    """
    if not are_several():
        return
    if not hasattr(model, "ddp_model"):
        raise ValueError(
            "Keras trains a model in several processes of PyTorch from 3.16 "
            f"on. Received: Keras {keras.__version__}, and `torch.distributed` "
            f"with {this_process()[1]} processes, which would each train a "
            "model of its own. Update Keras, or set KERAS_BACKEND=jax."
        )
    check_loss(model.loss, "several processes of PyTorch")


def is_wrapped(model):
    """Whether Keras trains a model in several processes."""
    return getattr(model, "ddp_model", None) is not None


@contextlib.contextmanager
def sharing(batch):
    """Context of a step on a batch of which each process has a part.

    Yields:
        The batch, as Keras is to be given it.
    """
    import torch

    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    rows = keras.ops.full((), len(x["token_ids"]), "float32")
    own = torch.stack([*shares.weights_of(batch), rows])
    total, count = own.clone(), this_process()[1]
    torch.distributed.all_reduce(total)
    tokens, frames, _ = shares.share(own, total, count)
    with replicas.sharing(tokens=tokens, frames=frames):
        yield shares.counted_as(batch, int(total[2]))
