"""How much memory a device has, and a warning before it is not enough."""

import math
import os
import re
import warnings

import keras

from keras_stts.memory.report import readable

# Bytes, or such as "16GiB" or "16GB": what a device is taken to have.
VARIABLE = "KERAS_STTS_MEMORY_LIMIT"
UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
FRAMES = {"num_frames", "prune_ratio"}
# An estimate for accelerators must exceed a host's memory by this much.
CLEARLY = 1.5


def memory_limit():
    """Bytes that a program may take on one device, infinite if not known.

    Raises:
        ValueError: If the environment variable holds no size.
    """
    found = device_memory()
    return CLEARLY * host_memory() if found is None else found


def parse_size(text):
    """A number of bytes of `"16GiB"`, `"16 GB"` or `"17179869184"`.

    Raises:
        ValueError: If it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]I?B)?\s*", text.upper())
    if match is None:
        raise ValueError(
            f"{VARIABLE} must be a number of bytes, or such as 16GiB or 16GB. "
            f"Received: {VARIABLE}={text!r}."
        )
    return float(match[1]) * UNITS[match[2] or ""]


def device_memory():
    """Bytes of the smallest accelerator, or `None` if there is none.

    Raises:
        ValueError: If the environment variable holds no size.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return parse_size(given)
    read = {"jax": _of_jax, "torch": _of_torch, "tensorflow": _of_tensorflow}
    return read.get(keras.config.backend(), lambda: None)()


def _of_jax():
    import jax

    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return None
    limits = [(d.memory_stats() or {}).get("bytes_limit") for d in devices]
    return min(limits) if all(limits) else math.inf


def _of_torch():
    import torch

    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved()


def _of_tensorflow():
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    from tensorflow.python.client import device_lib

    limits = [d.memory_limit for d in device_lib.list_local_devices()[1:]]
    return min(limits, default=math.inf)


def host_memory():
    """Bytes of this machine, infinite if not known."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES")
        return os.sysconf("SC_PAGE_SIZE") * pages
    except (AttributeError, ValueError):
        return math.inf  # Windows.


def warn_if_too_much(what, ask, ways, *, stacklevel=3):
    """Warn if an estimate exceeds what a device has, with ways out.

    Args:
        what: Str, what is about to run.
        ask: Function of keyword arguments of `VideoVLM.memory` to a `Memory`.
        ways: Dict of what to write in the code to a dict of these arguments.
        stacklevel: Int, see `warnings.warn`.

    Returns:
        Bool. Whether it warned.
    """
    limit = memory_limit()
    if limit == math.inf:
        return False
    need = ask()
    if need["total"] <= limit:
        return False
    kinds = sorted(need.table["head"], key=lambda kind: -need[kind])
    largest = ", ".join(f"{kind} {readable(need[kind])}" for kind in kinds[:3])
    warnings.warn(
        f"{what} is estimated to take {readable(need['total'])} on each device "
        f"({largest}), and there are {readable(limit)}. "
        f"{_ways_out(need['total'], limit, ask, ways)} `VideoVLM.memory` and "
        "`VideoVLM.memory_of` count what changes would save.",
        stacklevel=stacklevel,
    )
    return True


def _ways_out(need, limit, ask, ways):
    """Sentences that name at least two ways, with what they would take."""
    sizes = {text: ask(**changes)["total"] for text, changes in ways.items()}
    # What helps little is no way out.
    sizes = {text: n for text, n in sizes.items() if n < 0.97 * need}
    order = sorted(sizes, key=sizes.get)
    fitting = [text for text in sizes if sizes[text] <= limit]
    shown = fitting if len(fitting) > 1 else order[:3]
    if not shown:
        return "Take a device with more memory, or a smaller model."
    text = ", or ".join(f"{way} ({readable(sizes[way])})" for way in shown[:3])
    text = f"Ways out: {text}."
    if fitting:
        return text
    together, merged = [], {}
    for way in order:
        # Few frames cannot lose many of their blocks.
        names = merged.keys() | ({*FRAMES} if merged.keys() & FRAMES else ())
        if not names & ways[way].keys():
            together.append(way)
            merged |= ways[way]
    size = readable(ask(**merged)["total"])
    return f"{text} All of {', '.join(together)}: {size}."
