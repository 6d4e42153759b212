"""Files that are written atomically, and errors of the disk explained."""

import contextlib
import errno
import os
import pathlib
import re
import uuid

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

# How h5py and safetensors name an error of the system.
_ERROR_NUMBER = re.compile(r"(?:errno = |os error |Errno )(\d+)")


@contextlib.contextmanager
def replacing(path, *, ending=None, lasting=True):
    """Give a path to write a file at, which then replaces `path` atomically.

    If anything fails before, the file at `path` stays as it was.

    Args:
        path: Path on this machine, in an existing folder.
        ending: Optional str, ending of the temporary name. Defaults to the
            name of `path`: some libraries choose the format by it.
        lasting: Bool. Whether to flush the file to the disk first, so that it
            survives a power failure.
    """
    path = pathlib.Path(path)
    ending = f".{path.name}" if ending is None else ending
    part = path.with_name(f".part-{uuid.uuid4().hex}{ending}")
    try:
        part.touch(exist_ok=False)
        yield part
        if lasting:
            flush(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path):
    """Add to errors of writing which file it was and what to do.

    Args:
        path: Path of the file.

    Raises:
        OSError: With the same number, and so of the same class.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: a file must be written whole. Free some "
            "space, or choose a place that can be written, and run the same "
            "again. Received",
            str(path),
        ) from error


@contextlib.contextmanager
def writing_to(path):
    """Add to errors of the disk what was written and what to do."""
    try:
        yield
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        raise OSError(
            number,
            f"{path} could not be written: {os.strerror(number).lower()}. "
            "What was there before is as it was. Make room or save elsewhere, "
            "and save again.",
        ) from error


def _number(error):
    """The number of a system error, or None for other errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _ERROR_NUMBER.search(str(error))
    if found:
        return int(found[1])
    return errno.EIO if isinstance(error, OSError) else None


def flush(path):
    """Flush a file, or the names in a folder, to the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Folders under Windows.
        return
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems and Windows cannot.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder):
    """One process at a time; the lock of a killed process is released."""
    handle = None
    if fcntl is not None:
        handle = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # Some file systems cannot.
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
