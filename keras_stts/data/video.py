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
SampledVideo.__doc__ = """What `read_video` returns, to be taken as it is.

Attributes:
    frames: Uint8 (T, H, W, 3).
    times: Float64 (T,), seconds.
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
        ValueError: If it is no video, damaged or cut short.
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

    The file is read once for the times of its frames; then only what lies
    between a chosen frame and the keyframe before it is decoded. Only the
    chosen frames are held in memory. Videos that are stored sideways, upside
    down or mirrored are turned as they are to be shown.

    A file is damaged or cut if its container or a decoder shows it, not if a
    header promises more than there is: then a warning gives both figures. A
    file that names others, as playlists do, is refused: no other is opened.

    Args:
        source: Path, `file://` or other address (read with fsspec), bytes or
            binary file object of anything FFmpeg reads, of an animated WebP or
            PNG; or a dict of `"bytes"`, `"path"` or both, as rows of Hugging
            Face's datasets are; or a folder of images, in the order of the
            numbers in their names, hidden files left out.
        num_frames: Int. See `choose_frames`.
        max_fps: Number. See `choose_frames`.
        sampling: Str. See `choose_frames`.
        size: Optional int or (height, width). Frames are resized to it one by
            one. Or a callable of a frame, uint8 (H, W, 3), and the number of
            frames, that returns the frame in another size; its `repr` should
            tell what it does, as caches and shards know it by that.
        fps: Optional number. Frames a second of a folder. Defaults to
            `max_fps`.
        clip: Optional (start, end), seconds. Only frames of this part of the
            video are read, and their times count from the first of them.
        on_error: What happens with a file that is damaged or cut: `"raise"`,
            or `"warn"` and read what is left; where a frame is lost, the one
            before it is given.

    Returns:
        `SampledVideo` (frames, times): uint8 (T, H, W, 3), RGB, and float64
        (T,), the seconds at which the frames are shown, from the first.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no video, damaged or cut short, or has no frame
            in the clip.

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
    """Frames that were read once each, as often as they were chosen."""
    return frames if len(frames) == len(places) else frames[places]


def _part(times, clip, damage):
    """The first frame of a clip, and how many there are."""
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
    """The seconds of the frames that `read_video` would read.

    Nothing is decoded, unless a file does not tell the times of its frames.

    Args:
        source: See `read_video`, as all others.

    Returns:
        Float64 (T,).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no video, damaged or cut short.
    """
    check_rule(sampling, num_frames=num_frames, max_fps=max_fps)
    rule = (num_frames, max_fps, sampling)
    source = as_source(source)
    damage = Damage(source.name, on_error)
    times, rate = find_times(source, fps or max_fps, damage)
    return choose_frames(times, rate, *rule)[1]


def find_times(source, fps, damage):
    """Seconds of all frames of a `Source`, and frames a second."""
    check_path(source, damage, may_be_folder=True)
    if is_animation(source):
        with open_animation(source, fps, damage) as animation:
            times = animation.times
            return times, len(times) / animation.duration
    index = index_source(source, damage)
    if index.pts is not None:
        return index.times, index.fps
    return times_in_order(source, index.fps, damage)[0], index.fps
