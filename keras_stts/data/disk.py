"""What cannot be written, in words."""

import contextlib


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
