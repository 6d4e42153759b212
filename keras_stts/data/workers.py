"""Decoding in processes that may hang or die."""

import concurrent.futures
import contextlib
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import threading
import warnings

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

from keras_stts.data.source import name_of
from keras_stts.data.source import portable
from keras_stts.data.source import reachable

SCRIPT = pathlib.Path(__file__).with_name("_worker.py")
HEADER = struct.Struct("<Q")
# The largest pipe that Linux grants to any user.
PIPE_BYTES = 2**20
# Processes side by side use the cores; more threads in each, for the small
# products of resizing, wait for each other.
ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"
)


class DecodeError(ValueError):
    """A `DecodePool` could not read a video; the message says why.

    Example:
    ```python
    open("empty.mp4", "wb").close()
    with keras_stts.data.DecodePool(num_workers=1) as pool:
        error = pool.submit("empty.mp4", num_frames=8).exception()
    isinstance(error, keras_stts.data.DecodeError)  # True
    ```
    """


class DecodePool:
    """Reads videos in separate processes, several at a time.

    FFmpeg can crash, hang or allocate all memory on a damaged file. Then its
    process is replaced, and only that video is lost.

    Args:
        num_workers: Int. Number of processes.
        time_limit: Number. Seconds that reading a video may take.
        memory_limit: Int. Bytes that a process may allocate, beyond those it
            starts with.
        python: Optional path of the Python interpreter of the processes, with
            the dependencies of this package. Defaults to the current one.

    Raises:
        ValueError: If a number is not positive.

    Example:
    ```python
    clips = keras_stts.datasets.shapes.generate("clips", "train", 1)
    with keras_stts.data.DecodePool(num_workers=2) as pool:
        future = pool.submit(clips[0]["video"], num_frames=8)
        frames, times = future.result()
    ```
    """

    def __init__(
        self,
        num_workers=2,
        time_limit=60.0,
        memory_limit=4 * 2**30,
        *,
        python=None,
    ):
        for name, value in (
            ("num_workers", num_workers),
            ("time_limit", time_limit),
            ("memory_limit", memory_limit),
        ):
            if not value > 0:
                raise ValueError(
                    f"`{name}` must be positive. Received: {name}={value}."
                )
        self.num_workers = num_workers
        self.time_limit = time_limit
        self.memory_limit = memory_limit
        self.python = python or sys.executable
        self._local = threading.local()
        self._processes, self._lock = set(), threading.Lock()
        self._threads = concurrent.futures.ThreadPoolExecutor(
            num_workers, "decode"
        )

    def submit(self, source, num_frames, **kwargs):
        """Start to read a video.

        Args:
            source: See `keras_stts.data.read_video`.
            num_frames: Int.
            **kwargs: Further arguments of `keras_stts.data.read_video`.

        Returns:
            A `concurrent.futures.Future` of the result of `read_video`. Its
            exception is a `DecodeError` that names the video, or a
            `FileNotFoundError`.
        """
        return self._submit("frames", source, num_frames=num_frames, **kwargs)

    def submit_times(self, source, num_frames, **kwargs):
        """Start to find the times of the frames that `submit` would read.

        Returns:
            A `concurrent.futures.Future` of float64 (T,), seconds.
        """
        return self._submit("times", source, num_frames=num_frames, **kwargs)

    def submit_shape(self, source, num_frames, **kwargs):
        """Start to find number and size of the frames that `submit` would read.

        Returns:
            A `concurrent.futures.Future` of ints (T, height, width), see
            `keras_stts.data.sampled_shape`.
        """
        return self._submit("shape", source, num_frames=num_frames, **kwargs)

    def submit_facts(self, source, **kwargs):
        """Start to measure a video; see `submit`.

        Returns:
            A `concurrent.futures.Future` of what
            `keras_stts.data.measure.measure_video` returns.
        """
        return self._submit("facts", source, **kwargs)

    def submit_image(self, source):
        """Start to read an image; see `submit`.

        Returns:
            A `concurrent.futures.Future` of uint8 (H, W, 3).
        """
        return self._submit("image", source)

    def _submit(self, what, source, **kwargs):
        task = {"source": portable(source), **kwargs}
        return self._threads.submit(self._run, what, task)

    def close(self):
        """End all processes, also those that are reading."""
        with self._lock:
            processes, self._processes = self._processes, None
        for process in processes or ():
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in processes or ():
            _reap(process)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _run(self, what, task):
        name = name_of(task["source"])
        task = {**task, "source": reachable(task["source"])}
        process = getattr(self._local, "process", None)
        if process is None or process.poll() is not None:
            process = self._local.process = self._start()
        try:
            with _killed_after(process, self.time_limit):
                _send(process.stdin, pickle.dumps((what, task)))
                message = _receive(process.stdout)
            kind, value, notes = pickle.loads(message)
        except TimeoutError:
            self._end(process)
            raise DecodeError(
                "A video must be read within `time_limit`. Received: "
                f"{name!r}, which took more than {self.time_limit} s."
            ) from None
        except (OSError, EOFError, pickle.UnpicklingError):
            self._end(process)
            raise DecodeError(
                f"A video must be readable. Received: {name!r}, which made "
                "the reader crash. Convert or copy it again."
            ) from None
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        if kind == "missing":
            raise FileNotFoundError(value)
        if kind == "error":
            raise DecodeError(value)
        return value

    def _start(self):
        process = subprocess.Popen(
            [self.python, "-I", str(SCRIPT), str(self.memory_limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**ONE_THREAD, **os.environ},
        )
        _widen(process.stdin)
        _widen(process.stdout)
        with self._lock:
            if self._processes is not None:
                self._processes.add(process)
                return process
        process.kill()
        _reap(process)
        raise RuntimeError("The pool is closed.")

    def _end(self, process):
        self._local.process = None
        process.kill()
        with self._lock:
            if self._processes is not None:
                self._processes.discard(process)
        _reap(process)


def _widen(pipe):
    """Enlarge the buffer of a pipe, so that both sides wait less (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _reap(process):
    process.wait()
    process.stdin.close()
    process.stdout.close()


def _send(stream, data):
    stream.write(HEADER.pack(len(data)) + data)
    stream.flush()


def _receive(stream):
    size = HEADER.unpack(_read(stream, HEADER.size))[0]
    return _read(stream, size)


def _read(stream, size):
    data = bytearray(size)
    if stream.readinto(data) < size:
        raise EOFError
    return data


@contextlib.contextmanager
def _killed_after(process, seconds):
    """Ends a process that is late; waiting for it raises a TimeoutError.

    Not every system can wait for a pipe with a deadline.
    """
    late = threading.Event()

    def kill():
        late.set()
        process.kill()

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, EOFError):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()
    if late.is_set():
        raise TimeoutError
