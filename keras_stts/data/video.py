"""Frames of a video file: indexed without decoding, sought, resized early."""

import functools

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
from keras_stts.data.sampled import ChosenFrames
from keras_stts.data.sampled import ResizedVideo
from keras_stts.data.sampled import SampledVideo
from keras_stts.data.sampling import check_rule
from keras_stts.data.sampling import choose_frames
from keras_stts.data.source import as_source


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
    given = {"size": size, "fps": fps, "clip": clip, "on_error": on_error}
    return choose(source, num_frames, max_fps, sampling, **given).read()


def choose(
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
    """The frames that `read_video` would read, as `ChosenFrames`.

    Args:
        source: See `read_video`, also for all other arguments.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video, is truncated, or has no frame in the
            clip. Of other damage only reading tells.
    """
    rule = (num_frames, max_fps, sampling)
    if is_frames(source):
        check_rule(sampling, num_frames=num_frames, max_fps=max_fps)
        given = dict(zip(("num_frames", "max_fps", "sampling"), rule))
        given |= {"size": size, "fps": fps, "clip": clip}
        return ChosenFrames.of(read_frames_record(parse(source), given))
    return _choose(source, rule, size, fps=fps, clip=clip, on_error=on_error)


def _choose(source, rule, size=None, *, fps=None, clip=None, on_error):
    """`choose` from what is no record of a shard."""
    num_frames, max_fps, sampling = rule
    check_rule(sampling, num_frames=num_frames, max_fps=max_fps)
    source = as_source(source)
    damage = Damage(source.name, on_error)
    times, rate, decode = _open(source, fps or max_fps, damage)
    first, count = _part(times, clip, damage)
    times = times[first : first + count] - times[first]
    chosen, seconds = choose_frames(times, rate, *rule)
    total = len(np.unique(chosen))  # Some may be chosen twice.
    resize = size
    if callable(size):
        resize = functools.partial(_resize_one_of, size, total)

    def read(start, end):
        numbers = first + chosen[start:end]
        unique, places = np.unique(numbers, return_inverse=True)
        frames = decode(unique, resize, damage)
        if len(frames) != len(places):
            frames = frames[places]
        if size is None:
            return SampledVideo(frames, seconds[start:end])
        return ResizedVideo(frames, seconds[start:end], size)

    return ChosenFrames(seconds, read)


def _resize_one_of(size, total, frame, _):
    return size(frame, total)


def _open(source, fps, damage):
    """What is known of the frames of a `Source`, and how they are read.

    Args:
        fps: Number. Frames per second of a folder.

    Returns:
        Tuple (times, rate, decode): seconds of all frames, frames per second,
        and a function of ascending numbers of frames, of a size and of
        `Damage`, that gives uint8 (T, H, W, 3).
    """
    check_path(source, damage, may_be_folder=True)
    if is_animation(source):
        with open_animation(source, fps, damage) as animation:
            times, duration = animation.times, animation.duration

        def decode(numbers, size, damage):
            with open_animation(source, fps, damage) as animation:
                return read_animation(animation, numbers, size, damage)

        return times, len(times) / duration, decode
    index = index_source(source, damage)
    if index.pts is not None:
        decode = functools.partial(read_indexed, source, index)
        return index.times, index.fps, decode
    times, is_strict = times_in_order(source, index.fps, damage)
    decode = functools.partial(read_in_order, source, is_strict=is_strict)
    return times, index.fps, decode


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
    rule = (num_frames, max_fps, sampling)
    return _choose(source, rule, fps=fps, on_error=on_error).times


def sampled_shape(
    source,
    num_frames,
    max_fps=2.0,
    sampling="molmo2_hf",
    *,
    size=None,
    fps=None,
    on_error="raise",
):
    """Number and size of the frames that `read_video` would read.

    Only the first of them is decoded, as the size that a file names may be
    that of frames that are stored sideways.

    Args:
        source: See `read_video`, also for all other arguments.

    Returns:
        Tuple of ints (T, height, width).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video, or is damaged or truncated.

    Example:
    ```python
    clips = keras_stts.datasets.shapes.generate("clips", "train", 1)
    keras_stts.data.sampled_shape(clips[0]["video"], num_frames=4, size=28)
    # (4, 28, 28)
    ```
    """
    rule = (num_frames, max_fps, sampling)
    return _choose(source, rule, size, fps=fps, on_error=on_error).shape


def find_times(source, fps, damage):
    """Seconds of all frames of a `Source`, and frames per second."""
    times, rate, _ = _open(source, fps, damage)
    return times, rate
