"""Peak memory of this process and of its accelerator."""

import pathlib

import keras


def reset_peak():
    """Reset the peak, on systems that can."""
    try:
        # Linux: https://www.kernel.org/doc/html/latest/filesystems/proc.html
        pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass
    backend = keras.config.backend()
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
    if backend == "tensorflow":
        import tensorflow as tf

        for device in tf.config.list_logical_devices("GPU"):
            tf.config.experimental.reset_memory_stats(device.name)


def peak():
    """Peak bytes since `reset_peak`, or since the start if it cannot reset.

    Returns:
        Dict of `"host"`, the resident memory of this process (Linux), and
        `"device"`, the fullest accelerator by its backend's count; `None` if
        unknown.
    """
    return {"host": _host(), "device": _device()}


def _host():
    try:
        text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    # Not `resource.getrusage`, which counts the parent's memory too.
    found = [line for line in text.split("\n") if line.startswith("VmHWM:")]
    return 1024 * int(found[0].split()[1]) if found else None


def _device():
    backend = keras.config.backend()
    if backend == "torch":
        import torch

        count = torch.cuda.device_count()
        found = [torch.cuda.max_memory_allocated(i) for i in range(count)]
    elif backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU")
        stats = tf.config.experimental.get_memory_info
        found = [stats(device.name)["peak"] for device in devices]
    else:
        import jax

        stats = [device.memory_stats() or {} for device in jax.local_devices()]
        found = [s["peak_bytes_in_use"] for s in stats if s]
    return max(found, default=None)
