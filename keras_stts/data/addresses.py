"""Addresses of files: those of this machine, and those that fsspec reads."""

import contextlib
import re
import urllib.parse
import urllib.request

# Also `filecache::gs://...`, of which fsspec keeps a copy.
ADDRESS = re.compile(r"(?:[A-Za-z0-9+.-]+::)*([A-Za-z][A-Za-z0-9+.-]*)://")
# The packages that fsspec needs, by their names for pip.
PACKAGES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "box": "boxfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "hdfs": "pyarrow",
    "hf": "huggingface-hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "lakefs": "lakefs-spec",
    "oci": "ocifs",
    "oss": "ossfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "paramiko",
    "smb": "smbprotocol",
    "ssh": "paramiko",
    "tos": "tosfs",
    "webdav": "webdav4",
    "webhdfs": "requests",
}
A_VIDEO = "A video or image must be a readable file"
A_FILE = "A file must be where its address says"


def is_address(value):
    """Whether a value is a str such as `"https://..."` or `"s3://..."`."""
    return isinstance(value, str) and ADDRESS.match(value) is not None


def is_local(address):
    """Whether an address is that of a file on this machine."""
    return address.lower().startswith("file://")


def local_path(address):
    """The path that a `file://` address names."""
    parts = urllib.parse.urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        fail(address, "which is a file on another machine. Copy it here.")
    return urllib.request.url2pathname(
        address.split("://", 1)[1][len(parts.netloc) :]
    )


def fetch(address, copy):
    """Call `copy` with the file object at an address.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If fsspec is missing or cannot read the file.
    """
    with explained(address, A_VIDEO):
        system, path = file_system(address)
        try:
            with system.open(path, "rb") as file:
                return copy(file)
        except FileNotFoundError as error:
            if system.isdir(path):
                fail(address, "which is a folder. Copy it here.", error)
            raise FileNotFoundError(
                f"A video or image must exist. Received: {address!r}, where "
                "there is no file. Check the address."
            ) from error


def version_of(address):
    """Str that changes with a file, if its file system offers such a value."""
    with explained(address, A_VIDEO):
        system, path = file_system(address)
        return system.ukey(path)


def is_of_this_process(address):
    """Whether only this process can read the file at an address.

    This is so for `memory://`, and for file systems that were registered in
    this process.
    """
    name = ADDRESS.match(address)[1].lower()
    try:
        from fsspec import get_filesystem_class
        from fsspec.registry import known_implementations

        found = get_filesystem_class(name).__name__
    except (ImportError, ValueError):
        return False  # Reading it raises an error that says why.
    known = known_implementations.get(name, {}).get("class", "")
    return name == "memory" or known.split(".")[-1] != found


def file_system(address):
    """Tuple of fsspec's file system of an address, and the path in it."""
    import fsspec

    return fsspec.core.url_to_fs(address)


@contextlib.contextmanager
def explained(address, rule=A_FILE):
    """Explain errors of fsspec.

    Raises:
        OSError: Unchanged, for example if a file does not exist.
        ValueError: If a package is missing, or for any other error.
    """
    try:
        yield
    except ImportError as error:
        fail(address, _missing(address, error), error, rule)
    except (OSError, AddressError):
        raise
    except Exception as error:  # Each file system has errors of its own.
        what = f"{type(error).__name__}: {error}"
        what = f"which fsspec cannot read ({what}). Copy the file here."
        fail(address, what, error, rule)


def _missing(address, error):
    protocol = ADDRESS.match(address)[1].lower()
    part = PACKAGES.get(protocol, f"fsspec[{protocol}]")
    try:
        import fsspec  # noqa: F401
    except ImportError:
        needed = f"fsspec and its part for such addresses, {part}"
        part = f"fsspec {part}"
    else:
        needed = f"the package {part}"
    return (
        f"which needs {needed} ({error}). Install it with `pip install "
        f"{part}`, or copy the file here."
    )


class AddressError(ValueError):
    """An address cannot be read."""


def fail(name, what, error=None, rule=A_VIDEO):
    """Raise an `AddressError` for a source that cannot be read."""
    raise AddressError(f"{rule}. Received: {name!r}, {what}") from error
