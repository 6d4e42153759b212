"""Indices of the elements that stay in a sequence."""

import keras
from keras import ops


def places_of(stay, length):
    """Indices of the elements that stay, in order, then others.

    Args:
        stay: Bool tensor (B, S).
        length: Int. Number of indices, at least as many as elements stay.

    Returns:
        Int32 tensor (B, length).
    """
    size = stay.shape[1]
    place = ops.arange(size, dtype="int32")
    if keras.config.backend() == "jax":
        return _scattered(stay, place, length)
    # Unique keys, so every backend sorts them alike.
    key = ops.where(stay, place, place + size)
    order = ops.sort(key, axis=-1)[:, :length]
    return ops.where(order < size, order, order - size)


def write_at(x, place, new):
    """Write into sequences from an index on.

    Args:
        x: Tensor (B, S, ...).
        place: Int scalar tensor, the first index that is written.
        new: Tensor (B, S2, ...).

    Returns:
        Tensor of the shape of `x`.
    """
    if keras.config.backend() != "torch":
        rest = [0] * (len(x.shape) - 2)
        return ops.slice_update(x, [0, place, *rest], new)
    import torch

    # `slice_update` makes an index for each single element that it writes.
    place = torch.as_tensor(place, device=x.device)
    places = torch.arange(new.shape[1], device=x.device) + place
    return x.index_copy(1, places, new)


def _scattered(stay, place, length):
    """No sort: accelerators are slow to compile and to run one."""
    import jax
    import jax.numpy as jnp

    before = jnp.cumsum(stay.astype("int32"), axis=-1)
    target = jnp.where(stay, before - 1, before[:, -1:] + place - before)

    def scattered(target):
        places = jnp.zeros(length, "int32")
        return places.at[target].set(place, mode="drop", unique_indices=True)

    # Row by row: on several devices each row stays on its own.
    return jax.vmap(scattered)(target)
