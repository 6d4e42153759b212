"""Settings of the whole library, as `keras.config` has them."""

import os

import keras

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


def attention():
    """What runs attention; see `set_attention`.

    Returns:
        Str, what `set_attention` set, else the environment variable
        `KERAS_STTS_ATTENTION`, else `"auto"`.

    Raises:
        ValueError: If that variable names nothing there is.
    """
    if _chosen:
        return _chosen[-1]
    return _checked(
        os.environ.get("KERAS_STTS_ATTENTION") or "auto",
        "The environment variable KERAS_STTS_ATTENTION",
    )


def set_attention(name, elsewhere=False):
    """Choose what runs attention, instead of the best for the device.

    What has been compiled stays as it is.

    Args:
        name: `"auto"` (by backend and device), `"chunked"` (chunks of
            queries in `keras.ops`, on every backend and device), `"pallas"`
            (a kernel for TPUs, on JAX), `"cudnn"` (fused attention of NVIDIA
            GPUs, on JAX) or `"torch"` (what PyTorch chooses).
        elsewhere: Bool. Whether this is for a device that is not here and is
            only compiled for. Else attention raises an error where its kernel
            has no device.

    Raises:
        ValueError: If there is no such kernel, or not on this backend.
    """
    _chosen[:] = [_checked(name, "`name`")]
    _elsewhere[:] = [elsewhere]


def for_elsewhere():
    """Whether the device that attention was chosen for may not be here."""
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
