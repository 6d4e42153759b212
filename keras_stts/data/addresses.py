"""Addresses of files: those of this machine, and those that fsspec reads."""

import re
import urllib.parse
import urllib.request

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
NO_FSSPEC = (
    "which needs fsspec and its part for such addresses. Install it, as with "
    "`pip install fsspec[http]` or `fsspec[s3]`, or copy the file here"
)


def is_address(value):
    """Whether a value is a str such as `"https://..."` or `"s3://..."`."""
    return isinstance(value, str) and ADDRESS.match(value) is not None


def is_local(address):
    """Whether an address is of a file of this machine."""
    return address.lower().startswith("file://")


def local_path(address):
    """The path that a `file://` address names."""
    parts = urllib.parse.urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        fail(address, "which is a file of another machine. Copy it here.")
    return urllib.request.url2pathname(
        address.split("://", 1)[1][len(parts.netloc) :]
    )


def fetch(address, copy):
    """What `copy` makes of the file object at an address.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If fsspec is missing or cannot read it.
    """
    try:
        import fsspec

        with fsspec.open(address, "rb") as file:
            return copy(file)
    except ImportError as error:
        fail(address, f"{NO_FSSPEC} ({error}).", error)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"A video or image must exist. Received: {address!r}, where there "
            "is none. Check the address."
        ) from error
    except Exception as error:  # Each file system has errors of its own.
        fail(address, _unreadable(error), error)


def version_of(address):
    """Str that changes with the file at an address, if its system tells."""
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(address)
        return system.ukey(path)
    except ImportError as error:
        fail(address, f"{NO_FSSPEC} ({error}).", error)
    except Exception as error:  # Each file system has errors of its own.
        fail(address, _unreadable(error), error)


def _unreadable(error):
    what = f"{type(error).__name__}: {error}"
    return f"which fsspec cannot read ({what}). Copy the file here."


def fail(name, what, error=None):
    """Raise for a source that cannot be read."""
    raise ValueError(
        f"A video or image must be a readable file. Received: {name!r}, {what}"
    ) from error
