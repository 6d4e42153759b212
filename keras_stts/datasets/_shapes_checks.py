"""What `shapes` accepts."""

import numpy as np

from keras_stts.datasets._shapes_render import CAMERAS
from keras_stts.datasets._shapes_render import SPLITS


def check_world(split, seed, num_frames, camera):
    check_word("split", split, SPLITS)
    check_word("camera", camera, CAMERAS)
    check_integer("seed", seed, 0)
    # Four flashes need four frames after frame 0.
    check_integer("num_frames", num_frames, 5)


def check_word(name, value, words):
    if value not in words:
        raise ValueError(
            f"`{name}` must be one of {words}. "
            f"Received: {name}={value!r}. Pass one of these words."
        )


def check_integer(name, value, smallest):
    whole = isinstance(value, (int, np.integer))
    # A number of more than 32 bits could reach another clip's stream.
    if not whole or isinstance(value, bool) or not smallest <= value < 2**32:
        raise ValueError(
            f"`{name}` must be a whole number from {smallest} to 2**32 - 1. "
            f"Received: {name}={value!r}. Pass an int of {smallest} or more."
        )


def check_video(path, frames, fps, scale):
    if not path.endswith(".mp4"):
        raise ValueError(
            "`path` must end in '.mp4', the format that is written. "
            f"Received: path={path!r}. Change the ending."
        )
    if not fps > 0:
        raise ValueError(
            "`fps` must be a number of frames a second above 0. "
            f"Received: fps={fps!r}. Pass 1.0 for clips of `render`."
        )
    shape = frames.shape
    if frames.dtype != "uint8" or len(shape) != 4 or shape[3] != 3:
        raise ValueError(
            "`frames` must be uint8 of shape (T, H, W, 3). "
            f"Received: frames of {frames.dtype} {shape}. "
            "Pass `render(...).frames` or an array like it."
        )
    if not frames.size or shape[1] * scale % 2 or shape[2] * scale % 2:
        raise ValueError(
            "A video needs a frame, and an even height and width (yuv420p). "
            f"Received: frames of shape {shape} and scale={scale}. "
            "Crop the frames or pass an even `scale`."
        )
