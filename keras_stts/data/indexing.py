"""Where the frames of a video file are, found without decoding them."""

import contextlib
from collections import namedtuple

import av
import numpy as np

from keras_stts.data.containers import find_damage
from keras_stts.data.containers import may_be_cut
from keras_stts.data.containers import names_other_files
from keras_stts.data.opening import OTHERS
from keras_stts.data.opening import open_video
from keras_stts.data.source import opened

VideoIndex = namedtuple("VideoIndex", ["times", "fps", "pts", "key_pts"])
VideoIndex.__doc__ = """Where the frames of a video are.

Attributes:
    times: Float64 (n,), seconds of each frame, the first at 0.
    fps: Float, frames a second; their mean where the rate varies.
    pts: Int64 (n,), the same times in the units of the file; `None` if the
        file does not tell them, or tells them wrongly.
    key_pts: Int64, those of the frames at which decoding can start.
"""
USUAL_FPS, MOST_FPS = 25.0, 1000.0
# FFmpeg's own threshold: a clock that leaps further was set anew.
LEAP_SECONDS = 10.0
# Their clocks may be set anew, where recordings were joined.
JOINED = ("mpegts", "mpeg")
# Their headers give seconds of the whole file.
WHOLE = ("matroska,webm", "flv", "asf")
# A gap that no header knows, so long and so much longer than all others.
LONG_GAP, GAP_SHARE = 60.0, 10.0
MOST_LEADING = 64  # Packets before a stream can be decoded.
COPY = "Copy or download it again."
TOO_LARGE = "needs more memory than there is. Scale it down."


@contextlib.contextmanager
def reading(damage):
    """What FFmpeg raises, said of the file."""
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
        unclear = None in pts or len(set(pts)) < len(pts) or not packets.keys
        if unclear or is_joined:
            if is_joined:
                damage.warn("has times that leap, as if it had been joined.")
            return VideoIndex(np.arange(len(pts)) / rate, rate, None, None)
        promised = _promised(container, stream, packets)
    if packets.leading:
        pts = _without_leading(source, packets, damage)
    pts = np.sort(pts)
    times = _seconds(pts, scale)
    # The last frame stays as long as the others, if nothing is said.
    length = float(packets.length * scale) or times[-1] / max(len(pts) - 1, 1)
    total = times[-1] + length
    if len(pts) > 1 and abs(len(pts) / total / rate - 1) > 0.005:
        rate = len(pts) / total  # The header gives its peak.
    damage.compare_seconds(promised, total)
    if packets.may_be_cut and _last_is_broken(source, pts, packets, damage):
        damage.found("is truncated: its last frame is not whole.")
    gap = _strange_gap(times, promised)
    if gap is not None:
        damage.found(f"is damaged: its times leap by {gap:.0f} s.")
        rate = USUAL_FPS if gap > total / 2 else rate
        times = np.arange(len(pts)) / rate
    return VideoIndex(times, rate, pts, np.sort(packets.keys))


class _Packets:
    """What the packets of a stream tell, in the order of the file."""

    def __init__(self, container, stream, damage):
        self.pts, self.keys, self.length, self.count = [], [], 0, 0
        self.leading = False  # Whether the first need others before them.
        self.is_corrupt = self.last_is_corrupt = self.leaps = False
        self.may_be_cut = False
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
            return
        self.pts.append(packet.pts)
        self.length = packet.duration or self.length
        if not self.keys:
            self.leading = True
        elif None not in (packet.pts, self.keys[0]):
            self.leading |= packet.pts < self.keys[0]


def _check(container, stream, packets, file, damage):
    """Tell of what shows that a file is cut or damaged."""
    if names_other_files(file):
        damage.fail(OTHERS)
    if not packets.pts:
        damage.fail(f"has no frame. {COPY}")
    kind = container.format.name
    found = find_damage(file)
    if found is None and kind.startswith("mov"):
        found = _missing_samples(stream, packets, file)
    if kind == "mpegts":  # Packets are corrupt where recordings are joined.
        packets.is_corrupt = packets.last_is_corrupt
        packets.may_be_cut = may_be_cut(file, stream.id)
    if found is None and packets.is_corrupt:
        found = "is truncated or damaged: a frame is not whole."
    if found:
        damage.found(found)


def _missing_samples(stream, packets, file):
    """What the table of an MP4 promises and the file does not hold."""
    samples = [entry for entry in stream.index_entries if entry.size]
    size = file.seek(0, 2)
    end = max((entry.pos + entry.size for entry in samples), default=0)
    if end > size:
        return f"is truncated: its table goes on for {end - size} bytes more."
    if packets.count < len(samples):
        what = f"{packets.count} of {len(samples)} frames are there"
        return f"is truncated or damaged: {what}."
    return None


def _rate(stream):
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= MOST_FPS:
            return float(rate)
    return USUAL_FPS


def _promised(container, stream, packets):
    """Seconds of pictures that the file's headers speak of, or `None`."""
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
    """Seconds of a gap between two frames that no header speaks of."""
    if len(times) < 2:
        return None
    gap = float(np.diff(times).max())
    rest = times[-1] - gap
    if promised is not None and promised > gap:
        return None
    return gap if gap > max(LONG_GAP, GAP_SHARE * rest) else None


def _without_leading(source, packets, damage):
    """Times without those of first frames that need others before them."""
    key = packets.keys[0]
    shown = set()
    with open_video(source, damage, is_strict=False) as (container, stream):
        for number, packet in enumerate(container.demux(stream)):
            with contextlib.suppress(av.FFmpegError):
                shown |= {frame.pts for frame in packet.decode()}
            if shown and max(shown) >= key or number > MOST_LEADING:
                break
    return [pts for pts in packets.pts if pts >= key or pts in shown]


def _last_is_broken(source, pts, packets, damage):
    """Whether what comes after the last keyframe cannot be decoded."""
    start, shown = max(packets.keys), set()
    with open_video(source, damage) as (container, stream):
        container.seek(start, stream=stream)
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.pts >= start:
                    shown |= {frame.pts for frame in packet.decode()}
        except av.FFmpegError:
            return True
    return pts[-1] not in shown


def _seconds(pts, scale):
    # One division: the nearest float to the exact time.
    return (pts - pts[0]) * scale.numerator / scale.denominator
