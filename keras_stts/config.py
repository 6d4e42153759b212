"""Settings of the whole library, as `keras.config` has them."""

import os

import keras

__all__ = [
    "attention",
    "cuda_graphs",
    "set_attention",
    "set_cuda_graphs",
]

# What may run attention, and where.
ATTENTION = {
    "auto": "the best of these for backend and device",
    "chunked": "chunks of queries in keras.ops, everywhere",
    "pallas": "a kernel for TPUs, JAX",
    "cudnn": "fused attention of NVIDIA GPUs, JAX",
    "torch": "fused attention as PyTorch chooses it",
}
BACKENDS = {"pallas": "jax", "cudnn": "jax", "torch": "torch"}
_chosen = []
_elsewhere = [False]
_graphs = [None]


def attention():
    """What runs attention; see `set_attention`.

    Returns:
        Str, what `set_attention` set, else the environment variable
        `KERAS_STTS_ATTENTION`, else `"auto"`.

    Raises:
        ValueError: If that variable names no known kernel.
    """
    if _chosen:
        return _chosen[-1]
    return _checked(
        os.environ.get("KERAS_STTS_ATTENTION") or "auto",
        "The environment variable KERAS_STTS_ATTENTION",
    )


def set_attention(name, *, elsewhere=False):
    """Choose what runs attention, instead of the best for the device.

    Functions that were compiled before keep what they use.

    Args:
        name: `"auto"` (by backend and device), `"chunked"` (chunks of
            queries in `keras.ops`, on every backend and device), `"pallas"`
            (a kernel for TPUs, on JAX), `"cudnn"` (fused attention of NVIDIA
            GPUs, on JAX) or `"torch"` (what PyTorch chooses).
        elsewhere: Bool. Whether programs are only compiled, for a device that
            this machine lacks. Otherwise attention raises an error if there
            is no device for its kernel.

    Raises:
        ValueError: If there is no such kernel, or not on this backend.
    """
    _chosen[:] = [_checked(name, "`name`")]
    _elsewhere[:] = [elsewhere]


def for_elsewhere():
    """Whether programs are compiled for a device that this machine lacks."""
    return _elsewhere[-1]


def _checked(name, argument):
    if name not in ATTENTION:
        known = "; ".join(f'"{key}": {what}' for key, what in ATTENTION.items())
        raise ValueError(
            f"{argument} must be what can run attention ({known}). Received: "
            f"{name!r}."
        )
    backend = BACKENDS.get(name, keras.config.backend())
    if backend != keras.config.backend():
        raise ValueError(
            f"Attention {name!r} needs the backend {backend}. Received: "
            f"{name!r} on {keras.config.backend()}. Set "
            f"KERAS_BACKEND={backend}, or leave it at 'auto'."
        )
    return name


def cuda_graphs():
    """Whether CUDA graphs are made; see `set_cuda_graphs`.

    Returns:
        Bool, what `set_cuda_graphs` set, else the environment variable
        `KERAS_STTS_CUDA_GRAPHS` ("0" or "1"), else `True`.

    Raises:
        ValueError: If that variable is something else.
    """
    if _graphs[-1] is not None:
        return _graphs[-1]
    value = os.environ.get("KERAS_STTS_CUDA_GRAPHS", "")
    if value not in ("", "0", "1"):
        raise ValueError(
            "The environment variable KERAS_STTS_CUDA_GRAPHS must be 0 or 1. "
            f"Received: {value!r}."
        )
    return value != "0"


def set_cuda_graphs(wanted):
    """Choose whether PyTorch uses CUDA graphs on NVIDIA GPUs.

    `generate` and `keras_stts.evaluate` then record the prefill and a decoding
    step with the first batch, and again when a new shape comes twice in a row,
    and replay the recording afterwards. Replaying is faster, but the memory of
    the last recording stays on the GPU until `fit`, `compile` or a recording
    of another shape. A model compiled with `run_eagerly=True` records nothing.

    Args:
        wanted: Bool. Defaults to `True` as long as this is not called.

    Raises:
        ValueError: If it is not a bool.
    """
    if not isinstance(wanted, bool):
        raise ValueError(f"`wanted` must be a bool. Received: {wanted!r}.")
    _graphs[:] = [wanted]
