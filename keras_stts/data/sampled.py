"""Frames that were sampled from a video."""

import functools
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


class ChosenFrames:
    """The frames that were chosen of a video, read when they are asked for.

    Args:
        times: Float64 (T,), seconds of each from the first frame.
        read: Function of the first of the frames to read and of the one after
            the last, that gives a `SampledVideo`.
    """

    def __init__(self, times, read):
        self.times = times
        self._read = read

    @classmethod
    def of(cls, video, resize=None):
        """Those of a `SampledVideo`, of which nothing is left to read.

        Args:
            video: `SampledVideo`.
            resize: Optional function, see `keras_stts.data.read_video`.
        """

        def part(first, last):
            frames, times = video.frames[first:last], video.times[first:last]
            if isinstance(video, ResizedVideo):
                return ResizedVideo(frames, times, video.size)
            return SampledVideo(frames, times)

        def resized(first, last):
            frames, times = part(first, last)
            number = len(video.times)
            frames = np.stack([resize(frame, number) for frame in frames])
            return ResizedVideo(frames, times, resize)

        is_left = resize is not None and not is_resized(video, resize)
        return cls(video.times, resized if is_left else part)

    def read(self, first=0, last=None):
        """A `SampledVideo` of some of them: of all by default."""
        return self._read(first, len(self.times) if last is None else last)

    @functools.cached_property
    def shape(self):
        """Ints (T, height, width); the first frame is read for it."""
        return len(self.times), *self.read(0, 1).frames.shape[1:3]

    @property
    def unread(self):
        """What stands for it where its frames do not matter."""
        return UnreadVideo(self.times, self)


class UnreadVideo:
    """A video of which times and size are told and frames are not.

    Its inputs of a model have all but its pixels.

    Attributes:
        times: Float64 (T,), seconds of each frame.
        shape: Ints (T, height, width).
    """

    def __init__(self, times, frames):
        self.times = times
        self._frames = frames

    @property
    def shape(self):
        return self._frames.shape


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
