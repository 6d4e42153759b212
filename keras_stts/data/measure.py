"""What a video file is like, for `keras_stts.data.validate`."""

import base64
import hashlib
import os
import pathlib

import numpy as np

from keras_stts.data.damage import Damage
from keras_stts.data.source import as_source
from keras_stts.data.video import find_times
from keras_stts.data.video import read_video

NUM_SAMPLES = 8
GRID = 8  # Rows and columns of a look.
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def measure_video(source, fps=2.0):
    """Measure a video.

    Args:
        source: Path of a video file or of a folder of images.
        fps: Number. Frames a second of a folder.

    Returns:
        Dict of `"seconds"`, `"fps"`, `"width"`, `"height"`, `"frames"`,
        `"brightness"` (0 to 255, the mean of 8 frames), `"bytes"`,
        `"sha256"` of the file, and `"look"`: these frames in grey, 8 x 8
        each, in base64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no video, damaged or cut short.
    """
    opened = as_source(source)
    times, rate = find_times(opened, fps, Damage(opened.name))
    first, _ = read_video(opened, 1, fps=fps)
    side = 32 * GRID
    samples, _ = read_video(opened, NUM_SAMPLES, 1e9, size=side, fps=fps)
    grey = (samples @ GREY).reshape(len(samples), GRID, 32, GRID, 32)
    look = np.rint(grey.mean((2, 4))).astype("uint8")
    return {
        "seconds": round(len(times) / rate, 2),
        "fps": round(rate, 2),
        "width": first.shape[2],
        "height": first.shape[1],
        "frames": len(times),
        "brightness": round(float(grey.mean()), 1),
        "bytes": sum(os.path.getsize(file) for file in files_of(source)),
        "sha256": _digest(source),
        "look": base64.b64encode(look.tobytes()).decode(),
    }


def files_of(source):
    """The files that make up a video: one, or those of a folder."""
    path = pathlib.Path(source)
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _digest(source):
    digest = hashlib.sha256()
    for path in files_of(source):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
