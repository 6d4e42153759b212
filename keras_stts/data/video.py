"""Frames of a video file: indexed without decoding, sought, resized early."""

from collections import namedtuple

import numpy as np

from keras_stts.data.animation import is_animation
from keras_stts.data.animation import open_animation
from keras_stts.data.damage import Damage
from keras_stts.data.decoding import read_animation
from keras_stts.data.decoding import read_in_order
from keras_stts.data.decoding import read_indexed
from keras_stts.data.decoding import times_in_order
from keras_stts.data.indexing import index_source
from keras_stts.data.opening import check_path
from keras_stts.data.records import is_frames
from keras_stts.data.records import parse
from keras_stts.data.records import read_frames_record
from keras_stts.data.sampling import check_rule
from keras_stts.data.sampling import choose_frames
from keras_stts.data.source import as_source

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


def index_video(source, on_error="raise"):
    """Find the frames of a video file without decoding them.

    Args:
        source: See `read_video`; not a folder, nor an animated WebP or PNG.
        on_error: See `read_video`.

    Returns:
        `keras_stts.data.VideoIndex`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video, or is damaged or truncated.
    """
    source = as_source(source)
    return index_source(source, Damage(source.name, on_error))


def read_video(
    source,
    num_frames,
    max_fps=2.0,
    sampling="molmo2_hf",
    *,
    size=None,
    fps=None,
    clip=None,
    on_error="raise",
):
    """Read the frames that `choose_frames` chooses from a video.

    The file is read once for the times of its frames; then only the frames
    from a keyframe to the chosen frame after it are decoded. Only the chosen
    frames are kept in memory. Videos that are stored sideways, upside down or
    mirrored are turned upright.

    A file counts as damaged if its container or a decoder shows it. If only
    the duration in a header is too long, a warning names both durations. A
    file that names other files, such as a playlist, is refused.

    Args:
        source: Path, `file://` or other address (read with fsspec), bytes or
            binary file object of a video that FFmpeg reads, or of an animated
            WebP or PNG; or a dict of `"bytes"`, `"path"` or both, as in rows
            of Hugging Face's datasets; or a folder of images, in the order of
            the numbers in their names, without hidden files.
        num_frames: Int. See `choose_frames`.
        max_fps: Number. See `choose_frames`.
        sampling: Str. See `choose_frames`.
        size: Optional int or (height, width). Frames are resized to it one by
            one. It may also be a function of a frame, uint8 (H, W, 3), and the
            number of frames that returns the frame in another size; its `repr`
            should describe it, as caches and shards compare settings by it.
        fps: Optional number. Frames per second of a folder. Defaults to
            `max_fps`.
        clip: Optional (start, end), in seconds. Only frames of this part of
            the video are read, and their times count from the first of them.
        on_error: What to do with a file that is damaged or truncated:
            `"raise"` an error, or `"warn"` and read what is left, where a lost
            frame is replaced by the one before it.

    Returns:
        `SampledVideo` (frames, times): uint8 (T, H, W, 3), RGB, and float64
        (T,), the seconds at which the frames are shown, from the first.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video, is damaged or truncated, or has no
            frame in the clip.

    Example:

    >>> frames, times = read_video("cat.mp4", 64)  # doctest: +SKIP
    """
    check_rule(sampling, num_frames=num_frames, max_fps=max_fps)
    rule = (num_frames, max_fps, sampling)
    if is_frames(source):
        given = dict(zip(("num_frames", "max_fps", "sampling"), rule))
        given |= {"size": size, "fps": fps, "clip": clip}
        return SampledVideo(*read_frames_record(parse(source), given))
    source = as_source(source)
    damage = Damage(source.name, on_error)

    def choose(times, rate):
        """Indices of frames, and their times."""
        first, count = _part(times, clip, damage)
        part = times[first : first + count] - times[first]
        chosen, seconds = choose_frames(part, rate, *rule)
        return first + chosen, seconds

    check_path(source, damage, may_be_folder=True)
    if is_animation(source):
        with open_animation(source, fps or max_fps, damage) as animation:
            rate = len(animation.times) / animation.duration
            chosen, seconds = choose(animation.times, rate)
            unique, places = np.unique(chosen, return_inverse=True)
            frames = read_animation(animation, unique, size, damage)
            return SampledVideo(_repeated(frames, places), seconds)
    index, is_strict = index_source(source, damage), True
    times = index.times
    if index.pts is None:
        times, is_strict = times_in_order(source, index.fps, damage)
    chosen, seconds = choose(times, index.fps)
    unique, places = np.unique(chosen, return_inverse=True)
    if index.pts is None:
        frames = read_in_order(source, unique, size, is_strict, damage)
    else:
        frames = read_indexed(source, index, unique, size, damage)
    return SampledVideo(_repeated(frames, places), seconds)


def _repeated(frames, places):
    """Repeat frames, which were read once, as often as they were chosen."""
    return frames if len(frames) == len(places) else frames[places]


def _part(times, clip, damage):
    """Index of the first frame of a clip, and the number of its frames."""
    if clip is None:
        return 0, len(times)
    start, end = clip
    first = np.searchsorted(times, start, "left")
    count = np.searchsorted(times, end, "right") - first
    if count < 1:
        what = f"has no frame from {start} to {end} s. Its last is at "
        damage.fail(f"{what}{times[-1]:.1f} s; check `clip`.")
    return first, count


def sampled_times(
    source,
    num_frames,
    max_fps=2.0,
    sampling="molmo2_hf",
    *,
    fps=None,
    on_error="raise",
):
    """The times of the frames that `read_video` would read.

    Nothing is decoded, unless the file lacks the times of its frames.

    Args:
        source: See `read_video`, also for all other arguments.

    Returns:
        Float64 (T,), in seconds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video, or is damaged or truncated.
    """
    check_rule(sampling, num_frames=num_frames, max_fps=max_fps)
    rule = (num_frames, max_fps, sampling)
    source = as_source(source)
    damage = Damage(source.name, on_error)
    times, rate = find_times(source, fps or max_fps, damage)
    return choose_frames(times, rate, *rule)[1]


def find_times(source, fps, damage):
    """Seconds of all frames of a `Source`, and frames per second."""
    check_path(source, damage, may_be_folder=True)
    if is_animation(source):
        with open_animation(source, fps, damage) as animation:
            times = animation.times
            return times, len(times) / animation.duration
    index = index_source(source, damage)
    if index.pts is not None:
        return index.times, index.fps
    return times_in_order(source, index.fps, damage)[0], index.fps
