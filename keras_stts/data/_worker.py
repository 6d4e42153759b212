"""The script that each process of `keras_stts.data.workers.DecodePool` runs.

It imports only the readers, neither Keras nor a backend.
"""

import os
import pathlib
import pickle
import signal
import struct
import sys
import threading
import time
import types
import warnings

HEADER = struct.Struct("<Q")
PACKAGE = pathlib.Path(__file__).parents[1]


def make_packages():
    """Let modules of the package be imported without the whole package."""
    for name, path in (
        ("keras_stts", PACKAGE),
        ("keras_stts.data", PACKAGE / "data"),
    ):
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module


def import_readers():
    make_packages()
    from keras_stts.data.measure import measure_video
    from keras_stts.data.source import name_of
    from keras_stts.data.video import read_video
    from keras_stts.data.video import sampled_shape
    from keras_stts.data.video import sampled_times

    readers = {
        "frames": read_video,
        "times": sampled_times,
        "shape": sampled_shape,
        "facts": measure_video,
        "image": read_image,
    }
    return readers, name_of


def read_image(source):
    # Imported here, as most processes read no image.
    from keras_stts.data import image

    return image.read_image(source)


def limit_memory(most):
    """Limit the bytes that this process may allocate from now on (Linux)."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + most, now + most))


def answer(read, task, name_of):
    """Tuple of a kind, the result or the error, and warnings as str."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        kind, value = _answer(read, task, name_of)
    kept = [w for w in caught if issubclass(w.category, UserWarning)]
    return kind, value, [str(warning.message) for warning in kept]


def _answer(read, task, name_of):
    try:
        return "value", read(**task)
    except FileNotFoundError as error:
        return "missing", str(error)
    except MemoryError:
        name = name_of(task["source"])
        return "error", f"A video must fit into memory. Received: {name!r}."
    except Exception as error:
        message, name = str(error), name_of(task["source"])
        if name not in message:
            kind = type(error).__name__
            message = (
                f"A video must be readable. Received: {name!r}, which is "
                f"not ({kind}: {message})."
            )
        return "error", message


def end_with_parent():
    """Exit when the parent process ends, even while a video is being read."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main():
    # Ctrl-C goes to all processes: the video being read would look damaged.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Output that libraries print must not mix with the messages.
    inputs = os.fdopen(os.dup(0), "rb")
    outputs = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    readers, name_of = import_readers()
    threading.Thread(target=end_with_parent, daemon=True).start()
    if sys.platform == "linux":
        limit_memory(int(sys.argv[1]))
    while header := inputs.read(HEADER.size):
        what, task = pickle.loads(inputs.read(HEADER.unpack(header)[0]))
        result = answer(readers[what], task, name_of)
        data = pickle.dumps(result, protocol=5)
        outputs.write(HEADER.pack(len(data)) + data)
        outputs.flush()


if __name__ == "__main__":
    main()
