"""Weights files in HDF5: complete, and with no content but their own arrays."""

import contextlib
import hashlib
import io
import os
import re

import h5py

from keras_stts import _hub_compat as hub
from keras_stts.data import disk

AGAIN = "Download it or save it again."
# Follows the content of a file that `replacing` wrote; HDF5 ignores it.
SEAL = b"\nkeras_stts sha256 %s\n"
_SEAL = re.compile(SEAL % rb"([0-9a-f]{64})")
_SEAL_SIZE = len(SEAL % bytes(64))
NUMBERS = "biufV"  # `V` is NumPy's kind for unknown types: bfloat16.
MAX_COMPRESSION = 1000


@contextlib.contextmanager
def replacing(path):
    """Like `disk.replacing`, with a checksum that `check` verifies.

    Raises:
        OSError: If the file cannot be written, for example on a full disk.
    """
    with disk.writing_to(path), disk.replacing(path) as part:
        with guarded():
            yield part
        with open(part, "rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, os.SEEK_END)
            file.write(SEAL % digest.encode())


class _Disk(io.FileIO):
    """A file for HDF5 that keeps an error for `File` to raise.

    HDF5 does not handle errors of writing: h5py ignores some, and the process
    crashes at the end, when HDF5 tries to write again.
    """

    error = None

    def __repr__(self):
        return os.fspath(self.name)  # h5py uses it as the file's name.

    def _attempt(self, function, *arguments):
        if self.error is None and not self.closed:
            try:
                return function(*arguments)
            except OSError as error:
                self.error = error
        return None

    def write(self, data):
        self._attempt(self._write_all, memoryview(data).cast("B"))
        return len(data)

    def _write_all(self, data):
        while data:
            data = data[super().write(data) :]

    def seek(self, *arguments):
        return self._attempt(super().seek, *arguments)

    def truncate(self, *arguments):
        return self._attempt(super().truncate, *arguments)

    def flush(self):
        self._attempt(super().flush)


class File(h5py.File):
    """An HDF5 file to write to, on a disk that may become full.

    Args:
        path: Path.
        mode: `"w"` for a new file, `"a"` to add to one.

    Raises:
        OSError: When a group is made or the file is closed, if something
            could not be written.
    """

    def __init__(self, path, mode="w"):
        disk = _Disk(os.fspath(path), "rb+" if mode == "a" else "wb+")
        super().__init__(disk, "r+" if mode == "a" else "w")
        self._disk = disk

    def create_group(self, *args, **kwargs):
        if self._disk.error is not None:
            self.close()
        return super().create_group(*args, **kwargs)

    def close(self):
        super().close()
        error, self._disk.error = self._disk.error, None
        self._disk.close()
        if error is not None:
            raise error


@contextlib.contextmanager
def guarded():
    """Within this context Keras saves weights with `File`."""

    class Guarded:
        """`h5py`, as Keras uses it."""

        def __getattr__(self, name):
            return getattr(h5py, name)

        @staticmethod
        def File(path, mode="r", **kwargs):
            if mode in ("a", "w") and isinstance(path, (str, os.PathLike)):
                return File(path, mode)
            return h5py.File(path, mode=mode, **kwargs)

    before = hub.saving_lib.h5py
    hub.saving_lib.h5py = Guarded()
    try:
        yield
    finally:
        hub.saving_lib.h5py = before


@contextlib.contextmanager
def reading(path):
    """Check a file, and name it in errors of reading it within the context.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: See `check`; or if the weights do not fit the model.
    """
    if os.fspath(path).endswith(".h5"):
        check(path)
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        raise ValueError(
            "Weights must fit the model that they are loaded into. Received: "
            f"{path}, which does not fit ({type(error).__name__}: {reason}). "
            "Load it into the model from which it was saved."
        ) from error


def check(path):
    """Raise unless a file is complete and refers to no other file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; or if it holds links, virtual or external
            data, anything but arrays of numbers, or arrays larger than the
            file.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"A weights file must exist. Received: {path}. Check the name."
        )
    _check_seal(path)
    try:
        with h5py.File(path, "r") as file:
            for name, kind in _unsafe(file):
                raise ValueError(
                    "A weights file must hold arrays of numbers, whole and in "
                    f"itself. Received: {path}, where {name!r} is {kind}. Do "
                    "not load files that you do not trust."
                )
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def count_arrays(path, group="/"):
    """How many arrays a file, or a group in it, holds."""
    found = []
    with h5py.File(path) as file:
        if group not in file:
            return 0
        file[group].visititems(
            lambda name, item: (
                found.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
    return len(found)


def damaged(path, error):
    return ValueError(
        f"A weights file must be a whole HDF5 file. Received: {path}, which "
        f"cannot be read ({error}). {AGAIN}"
    )


def _check_seal(path):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size - _SEAL_SIZE
        file.seek(max(0, size))
        seal = _SEAL.fullmatch(file.read())
        if seal is None:
            return
        file.seek(0)
        digest = hashlib.sha256()
        while size:
            block = file.read(min(size, 2**20))
            digest.update(block)
            size -= len(block)
    if digest.hexdigest().encode() != seal[1]:
        raise ValueError(
            f"A weights file must be what was saved. Received: {path}, which "
            f"has other bytes (its sha256 differs). {AGAIN}"
        )


def _unsafe(file):
    """Names and kinds of content that must not be in a file."""
    groups, seen = [file], set()
    while groups:
        group = groups.pop()
        for key in group:
            link = group.get(key, getlink=True)
            name = f"{group.name.rstrip('/')}/{key}"
            if not isinstance(link, h5py.HardLink):
                yield name, f"a link ({type(link).__name__})"
                continue
            item = group[key]
            if isinstance(item, h5py.Dataset):
                kind = _unsafe_kind(item)
                if kind:
                    yield name, kind
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:
                    seen.add(address)
                    groups.append(item)
            else:
                yield name, "a type"


def _unsafe_kind(array):
    """What is wrong with a dataset, or None."""
    if array.external:
        return "data in another file"
    if array.is_virtual:
        return "virtual, data of other files"
    if array.shape is None or array.dtype.kind not in NUMBERS:
        return f"no array of numbers ({array.dtype})"
    stored = array.id.get_storage_size()
    if array.chunks is not None:
        stored *= MAX_COMPRESSION
    if stored < array.nbytes:
        return f"{array.nbytes:,} bytes large, which the file has not"
    return None
