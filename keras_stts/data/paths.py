"""Paths of this machine and addresses elsewhere, under the same names."""

import contextlib
import os
import pathlib
import posixpath

from keras_stts.data.addresses import AddressError
from keras_stts.data.addresses import explained
from keras_stts.data.addresses import file_system
from keras_stts.data.addresses import is_address
from keras_stts.data.addresses import is_local
from keras_stts.data.addresses import local_path


def as_path(value):
    """A `pathlib.Path`, or an `Address` of what fsspec reads."""
    if isinstance(value, Address):
        return value
    if is_address(value):
        if is_local(value):
            return pathlib.Path(local_path(value))
        return Address(value)
    return pathlib.Path(value)


def here(value, what):
    """A `pathlib.Path` on this machine.

    Args:
        value: Path or `file://` address.
        what: Str, what the error calls the file.

    Raises:
        ValueError: If it is not on this machine.
    """
    path = as_path(value)
    if isinstance(path, Address):
        raise AddressError(
            f"{what} must be on this machine. Received: {str(path)!r}. Name a "
            "path, and copy it from there."
        )
    return path


def join(folder, path):
    """A path or an address as seen from a folder, as str."""
    if is_address(path):
        return path
    folder = as_path(folder)
    if isinstance(folder, Address):
        return path if os.path.isabs(path) else str(folder / path)
    return os.path.join(os.fspath(folder), path)


def append_text(path, text):
    """Append to a UTF-8 text file; at an address the file is rewritten."""
    if isinstance(path, Address):
        before = path.read_text() if path.exists() else ""
        path.write_text(before + text)
        return
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def size(path):
    """Bytes of a file."""
    if isinstance(path, Address):
        return path.size()
    return path.stat().st_size


class Address:
    """A file or folder that fsspec reads, with `pathlib.Path`'s methods.

    A file appears, complete, when it is closed after writing.

    Args:
        address: Str, such as `"gs://bucket/folder/file"`.

    Raises:
        ValueError: In methods that read or write: if a package is missing, or
            the file system is unknown or fails.
        OSError: In the same methods: if a file is missing or not readable.
    """

    def __init__(self, address):
        self._start, _, rest = address.rpartition("://")
        self._keys = rest.rstrip("/")

    def __str__(self):
        return f"{self._start}://{self._keys}"

    def __repr__(self):
        return f"Address({str(self)!r})"

    def __eq__(self, other):
        return isinstance(other, Address) and str(self) == str(other)

    def __hash__(self):
        return hash(str(self))

    def __lt__(self, other):
        return str(self) < str(other)

    def _with(self, keys):
        return Address(f"{self._start}://{keys}")

    def __truediv__(self, path):
        if is_address(path):
            return as_path(path)
        if path.startswith("/"):
            return pathlib.Path(path)
        start = "/" if self._keys.startswith("/") else ""
        keys = posixpath.normpath(posixpath.join("/", self._keys, path))
        return self._with(start + keys.lstrip("/"))

    @property
    def name(self):
        return posixpath.basename(self._keys)

    @property
    def suffix(self):
        return posixpath.splitext(self.name)[1]

    @property
    def stem(self):
        return posixpath.splitext(self.name)[0]

    @property
    def parent(self):
        return self._with(posixpath.dirname(self._keys))

    def with_name(self, name):
        return self.parent / name

    def with_suffix(self, suffix):
        return self.with_name(self.stem + suffix)

    def absolute(self):
        return self

    def is_relative_to(self, other):
        """Whether this address is below another one."""
        folder = f"{str(other).rstrip('/')}/"
        return isinstance(other, Address) and f"{self}/".startswith(folder)

    @contextlib.contextmanager
    def system(self):
        """Gives fsspec's file system, and the path in it."""
        with explained(str(self)):
            yield file_system(str(self))

    def exists(self):
        with self.system() as (system, path):
            return system.exists(path)

    def is_dir(self):
        with self.system() as (system, path):
            return system.isdir(path)

    def is_file(self):
        with self.system() as (system, path):
            return system.isfile(path)

    def size(self):
        """Bytes of the file."""
        with self.system() as (system, path):
            return system.info(path)["size"]

    def glob(self, pattern):
        with self.system() as (system, path):
            found = system.glob(f"{path.rstrip('/')}/{pattern}")
            return [self._below(path, each) for each in sorted(found)]

    def iterdir(self):
        return self.glob("*")

    def _below(self, path, found):
        """The address of a path in the file system, below this address."""
        rest = found.lstrip("/")[len(path.strip("/")) :]
        return self / rest.lstrip("/")

    @contextlib.contextmanager
    def open(self, mode="rb"):
        """A binary file object; a written file is complete once closed."""
        with self.system() as (system, path), system.open(path, mode) as file:
            yield file

    def read_range(self, start, end):
        """The bytes from one place in the file to another."""
        with self.system() as (system, path):
            return system.cat_file(path, start, end)

    def read_bytes(self):
        with self.system() as (system, path):
            return system.cat_file(path)

    def write_bytes(self, data):
        with self.system() as (system, path):
            system.pipe_file(path, data)

    def read_text(self, encoding="utf-8"):
        return self.read_bytes().decode(encoding)

    def write_text(self, text, encoding="utf-8"):
        self.write_bytes(text.encode(encoding))

    def mkdir(self, *, parents=True, exist_ok=True):
        with self.system() as (system, path):
            system.makedirs(path, exist_ok=exist_ok)

    def unlink(self, *, missing_ok=False):
        with self.system() as (system, path):
            if not missing_ok or system.exists(path):
                system.rm_file(path)
