"""Videos that are not video files: folders of images, WebP, PNG, JPEG."""

import contextlib
import os
import pathlib
import re

import numpy as np

from keras_stts.data.containers import find_damage
from keras_stts.data.image import read_image
from keras_stts.data.pictures import as_pixels
from keras_stts.data.pictures import open_image
from keras_stts.data.source import opened

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def is_animation(source):
    """Whether a `Source` is read by `open_animation` and not by FFmpeg."""
    if source.is_path and not os.path.isfile(source.file):
        return os.path.isdir(source.file)
    with opened(source) as file:
        start = file.read(12)
        is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
        is_png = start[:8] == b"\x89PNG\r\n\x1a\n"
        return is_webp or is_png or _is_photo(start, file)


def _is_photo(start, file):
    """Whether a JPEG file holds a single picture."""
    if start[:3] != b"\xff\xd8\xff":
        return False
    last = b""
    while piece := file.read(2**20):
        if b"\xff\xd9\xff\xd8\xff" in last + piece:
            return False
        last = piece[-4:]
    return True


class Animation:
    """Frames and their times.

    Attributes:
        name: Name for messages.
        times: Float64 (n,), seconds of each frame.
        duration: Float, total seconds.
        read: Function of ascending indices, which yields uint8 (H, W, 3).
    """

    def __init__(self, name, durations, read):
        ends = np.cumsum(durations)
        self.name, self.duration, self.read = name, float(ends[-1]), read
        self.times = np.concatenate([[0.0], ends[:-1]])


@contextlib.contextmanager
def open_animation(source, fps, damage):
    """Open a folder of images, or a WebP, PNG or JPEG file.

    Args:
        source: `Source`.
        fps: Number. Frames per second where the source does not say.
        damage: `keras_stts.data.damage.Damage`, which reports damage.

    Raises:
        ValueError: If a folder holds no image or a link to an image outside,
            or if a file is damaged.
    """
    if source.is_path and os.path.isdir(source.file):
        yield _open_folder(pathlib.Path(source.file), fps)
        return
    with opened(source) as file:
        found = find_damage(file)
    if found:
        damage.found(found)
    try:
        with opened(source) as file, open_image(file) as image:
            durations = _durations(image, fps, damage)
            yield Animation(source.name, durations, _reader(image))
    except damage.Error:
        raise
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        damage.fail(f"is damaged ({str(error)[:200]}). Copy it again.", error)


def _reader(image):
    def read(indices):
        for index in indices:
            image.seek(int(index))
            yield as_pixels(image)

    return read


def _durations(image, fps, damage):
    """Seconds of each frame, which Pillow knows after decoding it."""
    result = []
    for index in range(getattr(image, "n_frames", 1)):
        try:
            image.seek(index)
            image.load()
        except (OSError, SyntaxError, EOFError, ValueError) as error:
            if not result:
                raise
            damage.found(f"is damaged ({str(error)[:200]}).")
            break
        milliseconds = image.info.get("duration")
        result.append(milliseconds / 1000 if milliseconds else 1 / fps)
    return result


def _open_folder(path, fps):
    files = [
        file
        for file in path.iterdir()
        if file.suffix.lower() in IMAGES and not file.name.startswith(".")
    ]
    files.sort(key=_natural)
    if not files:
        raise ValueError(
            "A folder that is a video must hold images "
            f"({', '.join(IMAGES)}). Received: {str(path)!r}, which holds "
            "none. Pass one file at a time, or a folder of frames."
        )
    _check_inside(path, files)

    def read(indices):
        for index in indices:
            yield read_image(files[index])

    return Animation(str(path), [1 / fps] * len(files), read)


def _check_inside(path, files):
    """Raise if a folder has links to files outside."""
    rooms = [path.resolve()]
    for parent in rooms[0].parents:
        # In the Hugging Face Hub's cache, snapshots link to blobs beside them.
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            rooms.append((parent.parent / "blobs").resolve())
    for file in files:
        place = file.resolve()
        if not any(place.is_relative_to(room) for room in rooms):
            raise ValueError(
                "A folder that is a video must hold its images itself. "
                f"Received: {str(file)!r}, a link that leaves the folder. Copy "
                "the image there."
            )


def _natural(path):
    """Key that sorts frame 10 after frame 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if part.isdecimal() else part for part in parts]
