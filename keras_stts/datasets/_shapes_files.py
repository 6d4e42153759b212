"""Files of `shapes`: video clips written whole and read back."""

import json
import os
import zipfile

import imageio.v3 as iio
import numpy as np
import tqdm

from keras_stts.data.disk import replacing

# One thread: the same file whatever the number of cores, and no slower for
# frames this small.
ENCODER = {"crf": "12", "preset": "ultrafast", "threads": "1"}


def encode(path, frames, fps):
    """Writes uint8 frames `(T, H, W, 3)` to `path` as H.264."""
    with iio.imopen(path, "w", plugin="pyav") as writer:
        writer.init_video_stream("libx264", fps=fps, pixel_format="yuv420p")
        # imageio has no public way to pass encoder options. Without them a
        # clip is merely slower to write and a little less exact.
        stream = getattr(writer, "_video_stream", None)
        if stream is not None:
            stream.options = ENCODER
        for frame in frames:
            writer.write_frame(frame)


def decode(path, num_frames, size, scale):
    """Reads a square clip back at its size before scaling.

    Args:
        path: path of a video file.
        num_frames: int, how many frames it must have.
        size: int, height and width to return, in pixels.
        scale: int, how many times larger the video is.

    Returns:
        uint8 array of shape `(num_frames, size, size, 3)`: the mean of each
        `scale` x `scale` square, rounded.

    Raises:
        ValueError: if the file is no such video.
    """
    expected = (num_frames, size * scale, size * scale, 3)
    try:
        frames = iio.imread(path, plugin="pyav")
    except (OSError, ValueError, IndexError) as error:
        frames, shape = None, f"{type(error).__name__}: {error}"
    else:
        shape = frames.shape
    if shape != expected:
        raise ValueError(
            f"A clip must be a video of shape {expected}. "
            f"Received: path={path!r} with {shape}. "
            "Delete the file; it will be written again."
        )
    # Strided sums: six times faster than one `sum` over two axes.
    total = np.full((num_frames, size, size, 3), scale**2 // 2, "uint32")
    for top in range(scale):
        for left in range(scale):
            total += frames[:, top::scale, left::scale]
    return (total // scale**2).astype("uint8")


def is_whole(path):
    """Whether an mp4 file's parts fill it exactly and its index is there.

    The index (`moov`) is written last, so a file cut short anywhere fails.
    Costs a few microseconds; nothing is decoded.
    """
    names, position = set(), 0
    try:
        length = os.path.getsize(path)
        with open(path, "rb") as file:
            while 0 <= position < length:
                file.seek(position)
                head = file.read(8)
                step = int.from_bytes(head[:4], "big")
                if step < 8:
                    return False
                names.add(head[4:])
                position += step
    except OSError:
        return False
    return position == length and b"moov" in names


def load_cache(path, key, num_clips):
    """Returns the first `num_clips` cached videos, None if they are absent."""
    try:
        with np.load(path) as cache:
            if str(cache["key"]) != key or cache["num_clips"] < num_clips:
                return None
            return cache["videos"][:num_clips]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def claim(folder, key):
    """Marks a folder with a key; returns whether it bore it already.

    Raises:
        ValueError: if it bears another.
    """
    path = os.path.join(folder, "key.json")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(path):
        _replace_text(path, key)
        return False
    found = _read_text(path)
    if found != key:
        raise ValueError(
            "A directory holds one seed and version of each split. "
            f"Received: {key} for {folder!r}, which holds {found}. "
            "Choose another directory or delete this folder."
        )
    return True


def write_manifest(path, rows):
    """Writes a JSON line a row, unless the file has them and maybe more."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if not os.path.exists(path) or not _read_text(path).startswith(text):
        _replace_text(path, text)


def counted(total, what, show):
    """Numbers from 0 to `total - 1`, which are counted on stderr if `show`."""
    short = "{desc}: {n_fmt}/{total_fmt}"
    return tqdm.trange(total, desc=what, bar_format=short, disable=not show)


def _read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _replace_text(path, text):
    with replacing(path, lasting=False) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
