"""The times of the frames of a video file, found without decoding them."""

import contextlib
import os
from collections import namedtuple

import av
import numpy as np

from keras_stts.data.containers import boxes
from keras_stts.data.containers import find_damage
from keras_stts.data.containers import gif
from keras_stts.data.containers import may_be_cut
from keras_stts.data.containers import names_other_files
from keras_stts.data.containers.view import View
from keras_stts.data.opening import OTHERS
from keras_stts.data.opening import TOO_LARGE
from keras_stts.data.opening import decoded
from keras_stts.data.opening import open_video
from keras_stts.data.source import opened

VideoIndex = namedtuple("VideoIndex", ["times", "fps", "pts", "key_pts"])
VideoIndex.__doc__ = """The times of the frames of a video.

Attributes:
    times: Float64 (n,), seconds of each frame, the first at 0.
    fps: Float, frames per second; the mean if the rate varies.
    pts: Int64 (n,), the same times in the units of the file; `None` if they
        are missing in the file, or wrong.
    key_pts: Int64, `pts` of the keyframes, at which decoding can start.

Example:
```python
clips = keras_stts.datasets.shapes.generate("clips", "train", 1)
index = keras_stts.data.index_video(clips[0]["video"])
index.fps, index.times[:3]  # 1.0, [0.0, 1.0, 2.0]
```
"""
USUAL_FPS, MOST_FPS = 25.0, 1000.0
# FFmpeg's own threshold: a larger jump is a clock that was reset.
LEAP_SECONDS = 10.0
# Their clocks may be reset where recordings were joined.
JOINED = ("mpegts", "mpeg")
# Their headers give the duration of the whole file.
WHOLE = ("matroska,webm", "flv", "asf")
# Damage is a gap of so many seconds, so much longer than all others, that no
# header mentions.
LONG_GAP, GAP_SHARE = 60.0, 10.0
# Packets before a stream can be decoded, and frames that show that it can.
MOST_LEADING, FIRST_SHOWN = 64, 16
COPY = "Copy or download it again."


@contextlib.contextmanager
def reading(damage):
    """Turn FFmpeg's errors into errors that name the file."""
    try:
        yield
    except MemoryError as error:
        damage.fail(TOO_LARGE, error)
    except av.FFmpegError as error:
        damage.fail(f"is truncated or damaged. {COPY}", error)


def index_source(source, damage):
    """The `VideoIndex` of a `Source`."""
    with open_video(source, damage) as (container, stream):
        packets = _Packets(container, stream, damage)
        with opened(source) as file:
            _check(container, stream, packets, file, damage)
        rate = _rate(stream)
        pts, scale = packets.pts, stream.time_base
        is_joined = packets.leaps and container.format.name in JOINED
        delay = stream.codec_context.has_b_frames
        unclear = None in pts or len(set(pts)) < len(pts) or not packets.keys
        # AVI has the times at which frames are decoded, not shown.
        unclear |= bool(delay) and container.format.name == "avi"
        if unclear or is_joined:
            if is_joined:
                damage.warn("has times that jump, as if it had been joined.")
            return _without_times(pts, rate)
        promised = _promised(container, stream, packets)
    if packets.leading or delay and len(packets.delays) < 2:
        shown = _first_shown(source, packets, damage)
        if sorted(shown) != shown:  # Its times are those of decoding.
            return _without_times(pts, rate)
        last = max(shown, default=pts[0])
        count, shown = len(pts), set(shown)
        pts = [time for time in pts if time > last or time in shown] or pts
        if len(pts) < count:
            damage.warn(
                f"begins with {count - len(pts)} frames that depend on missing "
                "ones before them: they are left out."
            )
    pts = np.sort(pts)
    times = _seconds(pts, scale)
    # By default the last frame lasts as long as the others.
    length = float(packets.length * scale) or times[-1] / max(len(pts) - 1, 1)
    total = times[-1] + length
    if len(pts) > 1 and abs(len(pts) / total / rate - 1) > 0.005:
        rate = len(pts) / total  # The header gives its peak.
    damage.compare_seconds(promised, total)
    if packets.may_be_cut and _last_is_broken(source, pts, packets, damage):
        damage.found("is truncated: its last frame is not whole.")
    if packets.is_mpeg and _has_gap_at_end(pts, delay):
        damage.warn("may be truncated: frames before its last are missing.")
    gap = _strange_gap(times, promised)
    if gap is not None:
        damage.found(f"is damaged: its times jump by {gap:.0f} s.")
        rate = USUAL_FPS if gap > total / 2 else rate
        times = np.arange(len(pts)) / rate
    return VideoIndex(times, rate, pts, np.sort(packets.keys))


class _Packets:
    """Times and flags of the packets of a stream, in the file's order."""

    def __init__(self, container, stream, damage):
        self.pts, self.keys, self.length, self.count = [], [], 0, 0
        self.delays = set()  # From decoding to showing; at most two are kept.
        self.leading = False  # Whether the first depend on missing frames.
        self.is_corrupt = self.last_is_corrupt = self.leaps = False
        self.may_be_cut = False
        self.is_mpeg = container.format.name in JOINED
        before, leap = None, LEAP_SECONDS / stream.time_base
        with reading(damage):
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                self._add(packet)
                now = packet.pts if packet.dts is None else packet.dts
                if before is not None and now is not None:
                    self.leaps |= not 0 <= now - before <= leap
                before = now

    def _add(self, packet):
        self.count += 1
        self.last_is_corrupt = packet.is_corrupt
        self.is_corrupt |= packet.is_corrupt
        if packet.is_keyframe:
            self.keys.append(packet.pts)
        if packet.is_discard:
            self.leading = True
            return
        self.pts.append(packet.pts)
        if len(self.delays) < 2 and None not in (packet.pts, packet.dts):
            self.delays.add(packet.pts - packet.dts)
        self.length = packet.duration or self.length
        if not self.keys:
            self.leading = True
        elif None not in (packet.pts, self.keys[0]):
            self.leading |= packet.pts < self.keys[0]


def _check(container, stream, packets, file, damage):
    """Report signs that a file is truncated or damaged."""
    if names_other_files(file):
        damage.fail(OTHERS)
    if not packets.pts:
        damage.fail(f"has no frame. {COPY}")
    kind = container.format.name
    found = find_damage(file)
    if found is None and kind.startswith("mov"):
        found = _missing_samples(stream, packets, file)
    if kind in JOINED:  # Packets are corrupt where recordings are joined.
        packets.is_corrupt = packets.last_is_corrupt
        packets.may_be_cut = may_be_cut(file, stream.id)
    if found is None and packets.is_corrupt:
        found = "is truncated or damaged: a frame is not whole."
    if found:
        damage.found(found)
    elif kind == "gif" and gif.is_strange(file):
        damage.warn(
            "may be damaged: a picture has too few pixels, or too many."
        )


def _missing_samples(stream, packets, file):
    """What the table of an MP4 lists but the file does not hold."""
    samples = [entry for entry in stream.index_entries if entry.size]
    size = file.seek(0, os.SEEK_END)
    end = max((entry.pos + entry.size for entry in samples), default=0)
    if end > size:
        return f"is truncated: its table goes on for {end - size} bytes more."
    count = max(len(samples), boxes.count_in_fragments(View(file), stream.id))
    if packets.count < count:
        what = f"{packets.count} of {count} frames are there"
        return f"is truncated or damaged: {what}."
    return None


def _rate(stream):
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= MOST_FPS:
            return float(rate)
    return USUAL_FPS


def _promised(container, stream, packets):
    """Seconds of video according to the file's headers, or `None`."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    start = float(min(packets.pts) * stream.time_base)
    if "DURATION" in stream.metadata:  # Of Matroska: when the track ends.
        with contextlib.suppress(ValueError):
            clock = [float(x) for x in stream.metadata["DURATION"].split(":")]
            return float(np.dot(clock, [3600, 60, 1])) - max(start, 0)
    is_alone = len(container.streams) == 1
    if is_alone and container.duration and container.format.name in WHOLE:
        return container.duration / av.time_base - max(start, 0)
    return None


def _strange_gap(times, promised):
    """Seconds of a gap between two frames that no header mentions."""
    if len(times) < 2:
        return None
    gap = float(np.diff(times).max())
    rest = times[-1] - gap
    if promised is not None and promised > gap:
        return None
    return gap if gap > max(LONG_GAP, GAP_SHARE * rest) else None


def _without_times(pts, rate):
    return VideoIndex(np.arange(len(pts)) / rate, rate, None, None)


def _first_shown(source, packets, damage):
    """Times of the first frames that can be decoded, in order."""
    shown = []
    with open_video(source, damage, is_strict=False) as (container, stream):
        for number, packet in enumerate(container.demux(stream)):
            with contextlib.suppress(av.FFmpegError):
                shown += [frame.pts for frame in decoded(packet)]
            enough = shown and (shown[-1] or 0) >= packets.keys[0]
            if enough and len(shown) >= FIRST_SHOWN or number > MOST_LEADING:
                break
    return [pts for pts in shown if pts is not None]


def _has_gap_at_end(pts, delay):
    """Whether frames are missing that come after the last shown in the file.

    Args:
        pts: Int (n,), ascending.
        delay: Int. How many frames later a frame may be shown than decoded.
    """
    steps = np.diff(pts)
    body, tail = steps[: -delay - 1], steps[-delay - 1 :]
    steady = len(body) > 2 and body.max() - body.min() <= 1
    return bool(delay) and steady and tail.max() > 1.5 * body.max()


def _last_is_broken(source, pts, packets, damage):
    """Whether the frames after the last keyframe cannot be decoded."""
    keys, shown = np.sort(packets.keys), set()
    with open_video(source, damage) as (container, stream):
        # Seeking in MPEG files may go too far.
        container.seek(int(keys[-2:][0]), stream=stream)
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.pts >= keys[-1]:
                    shown |= {frame.pts for frame in decoded(packet)}
        except av.FFmpegError:
            return True
    return keys[-1] in shown and pts[-1] not in shown


def _seconds(pts, scale):
    # One division: the nearest float to the exact time.
    return (pts - pts[0]) * scale.numerator / scale.denominator
