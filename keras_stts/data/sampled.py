"""Frames that were sampled from a video."""

from collections import namedtuple

import numpy as np

SampledVideo = namedtuple("SampledVideo", ["frames", "times"])
SampledVideo.__doc__ = """Frames sampled from a video, and their times.

`read_video` returns it. Where videos are expected, it is taken without sampling
again.

Attributes:
    frames: Uint8 (T, H, W, 3), RGB.
    times: Float64 (T,), seconds from the first frame.

Example:
```python
frames = np.zeros((2, 28, 28, 3), "uint8")
video = keras_stts.data.SampledVideo(frames, times=np.array([0.0, 0.5]))
converter = keras_stts.VideoVLMVideoConverter(image_size=28, num_frames=4)
converter([video])["frame_mask"]  # [[True, True, False, False]]
```
"""


class ResizedVideo(SampledVideo):
    """A `SampledVideo` that knows to what its frames were resized.

    A rule such as "at most so many pixels" may change a size again that it
    made itself, so whoever asks for the same size leaves the frames as they
    are.

    Args:
        frames, times: See `SampledVideo`.
        size: What `keras_stts.data.read_video` was given, or its
            `size_text`.

    Attributes:
        size: Str.
    """

    size: str

    def __new__(cls, frames, times, size=None):
        self = super().__new__(cls, frames, times)
        self.size = size if isinstance(size, str) else size_text(size)
        return self


def size_text(size):
    """A size as text: equal sizes give equal text.

    Args:
        size: Int, (height, width), or a function that resizes, see
            `keras_stts.data.read_video`.
    """
    if callable(size) or size is None:
        return str(size)
    size = (size, size) if np.ndim(size) == 0 else size
    return str(tuple(map(int, size)))


def is_resized(video, size):
    """Whether a `SampledVideo` was resized to this size before."""
    return getattr(video, "size", None) == size_text(size)
