"""Frames of a video file: indexed without decoding, sought, resized early."""

import contextlib
import os
from collections import namedtuple

import av
import numpy as np

from keras_stts.data.animation import is_animation
from keras_stts.data.animation import open_animation
from keras_stts.data.resize import resize_frames
from keras_stts.data.sampling import check_rule
from keras_stts.data.sampling import choose_frames
from keras_stts.data.source import as_source
from keras_stts.data.source import opened
from keras_stts.data.source import rewound

# FFmpeg draws text files as pictures.
TEXT = ("ansi", "bintext", "idf", "xbin")
MAX_PIXELS = 2**26

SampledVideo = namedtuple("SampledVideo", ["frames", "times"])
SampledVideo.__doc__ = """What `read_video` returns, to be taken as it is.

Attributes:
    frames: Uint8 (T, H, W, 3).
    times: Float64 (T,), seconds.
"""
VideoIndex = namedtuple("VideoIndex", ["times", "fps", "pts", "key_pts"])
VideoIndex.__doc__ = """Where the frames of a video are.

Attributes:
    times: Float64 (n,), seconds of each frame, the first at 0.
    fps: Float, frames a second; their mean where the rate varies.
    pts: Int64 (n,), the same times in the units of the file; `None` if the
        file does not tell them, or tells them wrongly.
    key_pts: Int64, those of the frames at which decoding can start.
"""


class _Unindexed(Exception):
    """What was found on the way is not what the index says."""


def index_video(source):
    """Find the frames of a video file without decoding them.

    Args:
        source: Path, bytes or file object of anything FFmpeg reads.

    Returns:
        `VideoIndex`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no video, damaged or cut short.
    """
    with _open(as_source(source)) as (container, stream, name):
        return _index(container, stream, name)


def read_video(
    source,
    num_frames,
    max_fps=2.0,
    sampling="molmo2_hf",
    size=None,
    fps=None,
    clip=None,
):
    """Read the frames that `choose_frames` chooses from a video.

    The file is read once for the times of its frames; then only what lies
    between a chosen frame and the keyframe before it is decoded. Only the
    chosen frames are held in memory. Sideways videos are turned upright.

    Args:
        source: Path, bytes or file object of anything FFmpeg reads, an
            animated WebP or PNG, or a folder of images, in the order of the
            numbers in their names.
        num_frames: Int. See `choose_frames`.
        max_fps: Number. See `choose_frames`.
        sampling: Str. See `choose_frames`.
        size: Optional int or (height, width). Frames are resized to it one by
            one.
        fps: Optional number. Frames a second of a folder. Defaults to
            `max_fps`.
        clip: Optional (start, end), seconds. Only frames of this part of the
            video are read, and their times count from the first of them.

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
    source = as_source(source)

    def choose(times, rate):
        """Indices of frames, and their times."""
        first, count = _part(times, clip, source.name)
        part = times[first : first + count] - times[first]
        chosen, seconds = choose_frames(part, rate, *rule)
        return first + chosen, seconds

    if is_animation(source):
        return _read_animation(source, choose, size, fps or max_fps)
    with _open(source) as (container, stream, name):
        index = _index(container, stream, name)
    if index.pts is not None:
        chosen, seconds = choose(index.times, index.fps)
        with contextlib.suppress(_Unindexed):
            frames = _read_chosen(source, index, np.unique(chosen), size)
            return SampledVideo(_repeated(frames, chosen), seconds)
    return _read_in_order(source, index.fps, choose, size)


def _repeated(frames, chosen):
    """Frames that were read once each, as often as they were chosen."""
    unique, place = np.unique(chosen, return_inverse=True)
    return frames if len(unique) == len(chosen) else frames[place]


def _part(times, clip, name):
    """The first frame of a clip, and how many there are."""
    if clip is None:
        return 0, len(times)
    start, end = clip
    first = np.searchsorted(times, start, "left")
    count = np.searchsorted(times, end, "right") - first
    if count < 1:
        what = f"has no frame from {start} to {end} s. Its last is at "
        _fail(name, f"{what}{times[-1]:.1f} s; check `clip`.")
    return first, count


def sampled_times(
    source, num_frames, max_fps=2.0, sampling="molmo2_hf", fps=None
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
    if is_animation(source):
        with open_animation(source, fps or max_fps) as animation:
            times = animation.times
            rate = len(times) / animation.duration
    else:
        with _open(source) as (container, stream, name):
            index = _index(container, stream, name)
        times, rate = index.times, index.fps
        if index.pts is None:
            times = _times_in_order(source, rate)
    return choose_frames(times, rate, *rule)[1]


def _read_chosen(source, index, chosen, size):
    """Seek and decode the frames of an index."""
    taken = _Frames(len(chosen), size)
    wanted = index.pts[chosen].tolist()
    with _open(source) as (container, stream, name), _damage(name):
        decoder, last = None, None
        for target in wanted:
            keys = index.key_pts[index.key_pts <= target]
            if not len(keys):
                raise _Unindexed
            if decoder is None or keys[-1] > last:
                container.seek(int(keys[-1]), stream=stream)
                decoder = _decode(container, stream, set(wanted))
            for frame in decoder:
                last = frame.pts
                if last is None or last >= target:
                    break
            if last != target:
                raise _Unindexed
            taken.add(frame, name)
    return taken.array


def _decode(container, stream, wanted):
    """Decode frames, but for those not wanted that no other one needs."""
    context = stream.codec_context
    for packet in container.demux(stream):
        needed = packet.pts is None or packet.pts in wanted
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        yield from packet.decode()


def _read_in_order(source, fps, choose, size):
    """Decode everything, twice: to count, and to take."""
    times = _times_in_order(source, fps)
    chosen, seconds = choose(times, fps)
    wanted = set(chosen.tolist())
    taken = _Frames(len(wanted), size)
    with _open(source) as (container, stream, name), _damage(name):
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                taken.add(frame, name)
            if taken.full:
                break
    return SampledVideo(_repeated(taken.array, chosen), seconds)


def _times_in_order(source, fps):
    """Seconds of all frames, found by decoding them."""
    with _open(source) as (container, stream, name), _damage(name):
        pts = [frame.pts for frame in container.decode(stream)]
        scale = stream.time_base
    if not pts:
        _fail(name, "has no frame. Copy or download it again.")
    if None not in pts and (np.diff(pts) > 0).all():
        return _seconds(np.array(pts), scale)
    return np.arange(len(pts)) / fps


def _read_animation(source, choose, size, fps):
    with open_animation(source, fps) as animation:
        rate = len(animation.times) / animation.duration
        chosen, seconds = choose(animation.times, rate)
        unique = np.unique(chosen)
        taken = _Frames(len(unique), size)
        for pixels in animation.read(unique):
            taken.add_array(pixels, animation.name)
    return SampledVideo(_repeated(taken.array, chosen), seconds)


class _Frames:
    """Room for so many frames, all of the size of the first or of `size`."""

    def __init__(self, count, size):
        self.count, self.size = count, size
        self.array, self.filled = None, 0

    @property
    def full(self):
        return self.filled == self.count

    def add(self, frame, name):
        pixels = frame.to_ndarray(format="rgb24")
        turns = round(frame.rotation / 90)
        self.add_array(np.rot90(pixels, turns), name)

    def add_array(self, pixels, name):
        if self.size is not None:
            pixels = resize_frames(pixels[None], self.size)[0]
        if self.array is None:
            self.array = np.empty((self.count, *pixels.shape), "uint8")
        if pixels.shape != self.array.shape[1:]:
            what = f"changes its size from {self.array.shape[1:3]} to "
            _fail(name, f"{what}{pixels.shape[:2]}. Pass `size`.")
        self.array[self.filled] = pixels
        self.filled += 1


def _index(container, stream, name):
    pts, keys, count, length = [], [], 0, 0
    with _damage(name):
        for packet in container.demux(stream):
            if not packet.size:
                continue
            count += 1
            if packet.is_discard:
                continue
            pts.append(packet.pts)
            length = packet.duration or length
            if packet.is_keyframe:
                keys.append(packet.pts)
    if not pts:
        _fail(name, "has no frame. Copy or download it again.")
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    if None in pts or len(set(pts)) < len(pts) or not keys:
        _check_whole(stream, name, count, len(pts) / rate, 1.5 / rate)
        return VideoIndex(np.arange(len(pts)) / rate, rate, None, None)
    pts = np.sort(pts)
    if len(pts) > 1:
        # The last frame stays as long as the others, if nothing is said.
        length = length or (pts[-1] - pts[0]) / (len(pts) - 1)
        seconds = float((pts[-1] - pts[0] + length) * stream.time_base)
        if abs(len(pts) / seconds / rate - 1) > 0.005:
            rate = len(pts) / seconds  # The header gives its peak.
    times = _seconds(pts, stream.time_base)
    # Headers may be one frame off; where the rate varies, the last picture
    # may be held for a while.
    steady = abs(times[-1] - (len(pts) - 1) / rate) < 0.5 / rate
    most_late = 1.5 / rate if steady else 0.5
    _check_whole(stream, name, count, times[-1], most_late)
    return VideoIndex(times, rate, pts, np.sort(keys))


def _check_whole(stream, name, count, last, most_late):
    """Raise if the file holds less than its header says.

    Args:
        count: Int. Frames found.
        last: Float. Seconds of the last of them.
        most_late: Float. Seconds that it may come before the end.
    """
    if count < stream.frames:
        what = f"is truncated: {count} of {stream.frames} frames."
        _fail(name, what + " Copy or download it again.")
    duration = None
    if stream.duration is not None:
        duration = float(stream.duration * stream.time_base)
    elif "DURATION" in stream.metadata:
        clock = stream.metadata["DURATION"].split(":")
        try:
            duration = float(np.dot([float(x) for x in clock], [3600, 60, 1]))
        except ValueError:
            _fail(name, "has a damaged header. Copy or download it again.")
    if duration and last + most_late < duration:
        what = f"is truncated: {last:.1f} of {duration:.1f} s."
        _fail(name, what + " Copy or download it again.")


def _seconds(pts, scale):
    # One division: the nearest float to the exact time.
    return (pts - pts[0]) * scale.numerator / scale.denominator


@contextlib.contextmanager
def _open(source):
    """The container, its video stream, and what to call it in messages."""
    name = source.name
    _check_path(source)
    try:
        container = av.open(rewound(source), metadata_errors="ignore")
    except (av.FFmpegError, ValueError, OSError):
        _fail(name, "is not a video, or a damaged one. Convert or copy it.")
    with container:
        if container.format.name == "gif":
            _check_gif(source)
        yield container, _find_stream(container, name), name


def _find_stream(container, name):
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        _fail(name, "has no video stream (only sound?). Pass another file.")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        _fail(name, "is of a codec that FFmpeg does not know. Convert it.")
    if context.name in TEXT:
        _fail(name, "is text, not a video. Pass another file.")
    if context.width * context.height > MAX_PIXELS:
        what = f"claims to have frames of {context.width}x{context.height}"
        _fail(name, f"{what}, more than {MAX_PIXELS} pixels. Scale it down.")
    stream.thread_type = "AUTO"
    return stream


def _check_gif(source):
    """Raise if the mark at the end of a GIF is missing: FFmpeg does not."""
    with opened(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        end = file.read()
    if not end.rstrip(b"\0").endswith(b";"):
        _fail(source.name, "is truncated. Copy or download it again.")


def _check_path(source):
    if not source.is_path:
        return
    if not os.path.exists(source.file):
        what = "does not exist. Check the path."
        _fail(source.name, what, FileNotFoundError)
    if os.path.getsize(source.file) == 0:
        _fail(source.name, "is empty (0 bytes). Copy or download it again.")


@contextlib.contextmanager
def _damage(name):
    try:
        yield
    except (av.FFmpegError, MemoryError):
        _fail(name, "is truncated or damaged. Copy or download it again.")


def _fail(name, what, error=ValueError):
    raise error(f"`source` must be a video. Received: {name!r}, which {what}")
