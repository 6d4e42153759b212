"""Locks on files, held by one process at a time."""

import warnings

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None


def lock(file, *, wait=False):
    """Hold an open file, until it is closed.

    Systems without `fcntl` (Windows) cannot lock: this warns and returns.

    Args:
        file: File object.
        wait: Bool. Whether to wait for another process that holds it.

    Raises:
        BlockingIOError: If another one holds it, and `wait` is false.
    """
    if fcntl is None:
        warnings.warn(
            f"This system cannot lock {file.name!r} (Python has no `fcntl` "
            "here): see to it that no other process writes to its folder.",
            stacklevel=2,
        )
        return
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
