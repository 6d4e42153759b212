"""Sampled frames on disk, for the epochs after the first."""

import contextlib
import hashlib
import io
import json
import os
import threading
import time
import warnings
import zipfile

import numpy as np

from keras_stts.data.disk import replacing
from keras_stts.data.paths import here
from keras_stts.data.source import identity

VERSION = 2
# A writer that takes longer was killed.
ABANDONED_SECONDS = 3600
# NumPy reads headers with `ast`, which in Python 3.11 fails in two threads.
_one_at_a_time = threading.Lock()


class FrameCache:
    """Frames and times of videos, kept in a folder of limited size.

    Entries are written atomically. Their checksums are tested at each reading;
    a damaged entry counts as missing. Several processes may share a folder.
    When it is full, the least recently used entries are deleted.

    Args:
        folder: Path on this machine, created if it is missing.
        max_bytes: Int. Limit of the total size. Defaults to 20 GB.

    Raises:
        ValueError: If `max_bytes` is not positive, or `folder` is not on this
            machine.

    Example:
    ```python
    clips = keras_stts.datasets.shapes.generate("clips", "train", 1)
    path = clips[0]["video"]
    cache = keras_stts.data.FrameCache("cache", max_bytes=10**9)
    key = cache.key(path, num_frames=8)
    cache.write(key, *keras_stts.data.read_video(path, num_frames=8))
    frames, times = cache.read(key)
    ```
    """

    def __init__(self, folder, max_bytes=20 * 10**9):
        if not max_bytes > 0:
            raise ValueError(
                f"`max_bytes` must be positive. Received: {max_bytes}."
            )
        self.folder = here(folder, "A cache of frames")
        self.max_bytes = max_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._room = None
        self._has_warned = False

    def key(self, source, **settings):
        """Key of a file that is sampled with these settings, as str."""
        name = [VERSION, *identity(source), settings]
        text = json.dumps(name, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _path(self, key):
        return self.folder / key[:2] / f"{key}.npz"

    def read(self, key):
        """Tuple (frames, times), or `None` if there is no such entry."""
        path = self._path(key)
        try:
            with _one_at_a_time, np.load(path) as entry:
                frames, times = entry["frames"], entry["times"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return frames, times

    def write(self, key, frames, times):
        """Write an entry. On a full disk nothing is kept, with a warning."""
        path = self._path(key)
        memory = io.BytesIO()
        np.savez(memory, frames=frames, times=times)
        data = memory.getbuffer()
        if len(data) > self.max_bytes:
            return
        try:
            path.parent.mkdir(exist_ok=True)
            with replacing(path, ending=".part", lasting=False) as part:
                part.write_bytes(data)
        except OSError as error:
            self._warn(error)
            return
        self._make_room(len(data))

    def _warn(self, error):
        """Warn once that nothing is kept, and why."""
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"The cache {str(self.folder)!r} cannot be written "
                f"({error.strerror}), so videos are decoded again in each "
                "epoch. Free some space, or lower `max_bytes`.",
                stacklevel=3,
            )

    def _make_room(self, added):
        # The folder is listed at first, then whenever this process has filled
        # the free space, or a twentieth of it: others write, too.
        if self._room is not None:
            self._room -= added
            if self._room > 0:
                return
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                break
            # Unless another process just did, or, on Windows, reads it.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                path.unlink()
            total -= size
        free = self.max_bytes - total
        self._room = min(free, self.max_bytes // 20)

    def _entries(self):
        """(last used, bytes, path) of all entries; deletes leftovers."""
        entries, now = [], time.time()
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if path.suffix == ".npz":
                    entries.append((facts.st_mtime, facts.st_size, path))
                elif now - facts.st_mtime > ABANDONED_SECONDS:
                    path.unlink()
        return entries
