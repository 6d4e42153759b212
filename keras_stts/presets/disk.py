"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import pathlib
import re
import tempfile

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

# What h5py and safetensors say of an error of the system.
_ERROR_NUMBER = re.compile(r"(?:errno = |os error |Errno )(\d+)")


@contextlib.contextmanager
def replacing(path):
    """A path to write a file at, which then replaces `path` in one go.

    Whatever happens before, what was at `path` stays as it was.

    Raises:
        OSError: If it cannot be written, such as on a full disk.
    """
    path = pathlib.Path(path)
    with writing_to(path):
        handle, part = tempfile.mkstemp(f".{path.name}", "part-", path.parent)
        os.close(handle)
        try:
            yield pathlib.Path(part)
            os.chmod(part, 0o666 & ~_umask())
            flush(part)
            os.replace(part, path)
        finally:
            pathlib.Path(part).unlink(missing_ok=True)


@contextlib.contextmanager
def writing_to(path):
    """Errors of the disk name what was written and what to do."""
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
    """The system's number of an error that it caused, else None."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _ERROR_NUMBER.search(str(error))
    if found:
        return int(found[1])
    return errno.EIO if isinstance(error, OSError) else None


def flush(path):
    """Have a file, or the names in a folder, on the disk itself."""
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
    """One process at a time; the lock of a killed one is gone with it."""
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


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
