"""Measurements of a video file, for `keras_stts.data.validate`."""

import base64
import hashlib
import os
import pathlib

import numpy as np

from keras_stts.data.damage import Damage
from keras_stts.data.source import as_source
from keras_stts.data.source import opened
from keras_stts.data.video import find_times
from keras_stts.data.video import read_video

NUM_SAMPLES = 8
ANY_FPS = 1e9  # More than any video has: no limit.
GRID = 8  # Rows and columns of a thumbnail.
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def measure_video(source, fps=2.0):
    """Measure a video.

    Args:
        source: Path or address of a video file, or path of a folder of
            images.
        fps: Number. Frames per second of a folder.

    Returns:
        Dict of `"seconds"`, `"fps"`, `"width"`, `"height"`, `"frames"`,
        `"brightness"` (0 to 255, the mean of 8 frames), `"bytes"`,
        `"sha256"` of the file, and `"look"`: grey thumbnails of these 8
        frames, 8 x 8 pixels each, in base64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video, or is damaged or truncated.
    """
    source = as_source(source)
    times, rate = find_times(source, fps, Damage(source.name))
    first, _ = read_video(source, 1, fps=fps)
    side = 32 * GRID
    samples, _ = read_video(source, NUM_SAMPLES, ANY_FPS, size=side, fps=fps)
    grey = (samples @ GREY).reshape(len(samples), GRID, 32, GRID, 32)
    num_bytes, digest = _content(source)
    look = np.rint(grey.mean((2, 4))).astype("uint8")
    return {
        "seconds": round(len(times) / rate, 2),
        "fps": round(rate, 2),
        "width": first.shape[2],
        "height": first.shape[1],
        "frames": len(times),
        "brightness": round(float(grey.mean()), 1),
        "bytes": num_bytes,
        "sha256": digest,
        "look": base64.b64encode(look.tobytes()).decode(),
    }


def files_of(path):
    """The files that make up a video: one, or those of a folder."""
    path = pathlib.Path(path)
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _content(source):
    """Tuple of the number of bytes of a `Source`, and their digest."""
    if not source.is_path:
        files = [opened(source)]
    else:
        files = (open(path, "rb") for path in files_of(source.file))
    digest, num_bytes = hashlib.sha256(), 0
    for each in files:
        with each as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
            num_bytes += file.seek(0, os.SEEK_END)
    return num_bytes, digest.hexdigest()
