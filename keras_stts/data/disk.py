"""Files that are written whole or not at all, and errors in words."""

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

# What h5py and safetensors say of an error of the system.
_ERROR_NUMBER = re.compile(r"(?:errno = |os error |Errno )(\d+)")


@contextlib.contextmanager
def replacing(path, *, ending=None, lasting=True):
    """A path to write a file at, which then replaces `path` in one go.

    Whatever happens before, what was at `path` stays as it was.

    Args:
        path: Path of this machine, in a folder that is there.
        ending: Optional str, of the file's name until then. Defaults to the
            whole name of `path`: some libraries choose the format by it.
        lasting: Bool. Whether it must be on the disk itself by then, so that
            it outlives a power failure.
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
    """Name a file, and what to do, if it cannot be written.

    Args:
        path: Path of the file.

    Raises:
        OSError: Of the same number, and so of the same kind.
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
