"""Moving pictures that are no video files: folders, animated WebP and PNG."""

import contextlib
import os
import pathlib
import re

import imageio.v3 as iio
import numpy as np

from keras_stts.data.image import read_image
from keras_stts.data.source import opened
from keras_stts.data.source import rewound

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def is_animation(source):
    """Whether `open_animation` is to read a `Source`, and not FFmpeg."""
    if source.is_path and not os.path.isfile(source.file):
        return os.path.isdir(source.file)
    with opened(source) as file:
        return _is_picture(file.read(12))


def _is_picture(start):
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return is_webp or start[:8] == b"\x89PNG\r\n\x1a\n"


class Animation:
    """Frames and their times.

    Attributes:
        name: What to call it in messages.
        times: Float64 (n,), seconds of each frame.
        duration: Float, seconds of all.
        read: Function of rising indices, which yields uint8 (H, W, 3).
    """

    def __init__(self, name, durations, read):
        ends = np.cumsum(durations)
        self.name, self.duration, self.read = name, float(ends[-1]), read
        self.times = np.concatenate([[0.0], ends[:-1]])


@contextlib.contextmanager
def open_animation(source, fps):
    """Open a folder of images, or a WebP or PNG file.

    Args:
        source: `Source`.
        fps: Number. Frames a second where the source does not say.

    Raises:
        ValueError: If a folder holds no image, or a file is damaged.
    """
    if source.is_path and os.path.isdir(source.file):
        yield _open_folder(pathlib.Path(source.file), fps)
        return
    try:
        with iio.imopen(rewound(source), "r", plugin="pillow") as file:
            count = file.properties(index=...).n_images or 1
            durations = _durations(file, count, fps)
            yield Animation(source.name, durations, _reader(file))
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(
            "`source` must be a video. Received: "
            f"{source.name!r}, which is damaged ({error}). Copy it again."
        ) from error


def _reader(file):
    def read(indices):
        for index in indices:
            yield file.read(index=int(index), mode="RGB", rotate=True)

    return read


def _durations(file, count, fps):
    result = []
    for index in range(count):
        file.read(index=index)  # Pillow tells how long once it has decoded.
        milliseconds = file.metadata(index=index).get("duration")
        result.append(milliseconds / 1000 if milliseconds else 1 / fps)
    return result


def _open_folder(path, fps):
    files = [f for f in path.iterdir() if f.suffix.lower() in IMAGES]
    files.sort(key=_natural)
    if not files:
        raise ValueError(
            "A folder that is a video must hold images "
            f"({', '.join(IMAGES)}). Received: {str(path)!r}, which holds "
            "none. Pass one file at a time, or a folder of frames."
        )

    def read(indices):
        for index in indices:
            yield read_image(files[index])

    return Animation(str(path), [1 / fps] * len(files), read)


def _natural(path):
    """Key that sorts frame 10 after frame 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if part.isdigit() else part for part in parts]
