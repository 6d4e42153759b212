"""Memory of this process, from Linux.

`resource.getrusage` will not do: it counts the parent's memory, too.
"""

import pathlib


def _bytes(name):
    for line in (
        pathlib.Path("/proc/self/status").read_text("utf-8").split("\n")
    ):
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"/proc/self/status must hold {name}.")


def resident():
    """Bytes in memory now."""
    return _bytes("VmRSS")


def peak():
    """Most bytes that were in memory at a time."""
    return _bytes("VmHWM")
