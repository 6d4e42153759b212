"""Frames of a video file: sought, decoded, upright, resized one by one."""

import re

import av
import numpy as np

from keras_stts.data.frames import Frames
from keras_stts.data.indexing import COPY
from keras_stts.data.indexing import JOINED
from keras_stts.data.indexing import LEAP_SECONDS
from keras_stts.data.opening import decoded
from keras_stts.data.opening import open_video

# No frame of these codecs holds so many zeros, but before a mark or the end.
ZEROS = re.compile(rb"\0{16}\0*(?![\0\1]|\Z)")
WITHOUT_ZEROS = (
    "h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3",
    "h263", "flv1", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2",
)  # fmt: skip
# In frames of these so many would be a wonder.
MANY_ZEROS = re.compile(rb"\0{48}\0*[^\0]")
SELDOM_ZEROS = ("vp8", "vp9", "av1", "libdav1d", "mjpeg", "theora")


class _Broken(Exception):
    """A frame cannot be decoded, or the decoder does not return it."""


FAULTS = (_Broken, av.FFmpegError)


def read_indexed(source, index, chosen, size, damage):
    """Decode the frames of an index.

    Args:
        source: `Source`.
        index: `VideoIndex` with `pts`.
        chosen: Int (T,), ascending numbers of frames.
        size: Optional (height, width) or int.
        damage: `Damage`, which reports damage.

    Returns:
        Uint8 (T, H, W, 3).
    """
    wanted = index.pts[chosen].tolist()
    for read in (_seek, _scan):
        try:
            return read(source, index, wanted, size, damage)
        except FAULTS as error:
            reason = error
    damage.found(f"is truncated or damaged: {_say(reason)}.")
    return _read_what_is_left(source, wanted, size, damage)


def _say(reason):
    if isinstance(reason, _Broken):
        return str(reason)
    return "frames cannot be decoded"


def _seek(source, index, wanted, size, damage):
    """Decode from the keyframe before each wanted frame."""
    taken = Frames(len(wanted), size, damage)
    with open_video(source, damage) as (container, stream):
        decoder, last = None, None
        for slot, target in enumerate(wanted):
            keys = index.key_pts[index.key_pts <= target]
            if not len(keys):
                raise _Broken("a frame has no keyframe before it")
            start = int(keys[-1])
            sought = decoder is None or start > last
            if sought:
                container.seek(start, stream=stream)
                decoder = decode(container, stream, damage, set(wanted), start)
            for frame in decoder:
                if sought and not frame.key_frame:
                    raise _Broken("a frame said to be a keyframe is none")
                sought, last = False, frame.pts
                if last is None or last >= target:
                    break
            if last != target:
                raise _Broken("a frame does not come out")
            taken.put(slot, frame)
    return taken.array


def _scan(source, index, wanted, size, damage):
    """Decode from the first frame to the last that is wanted."""
    taken = Frames(len(wanted), size, damage)
    slots = {pts: slot for slot, pts in enumerate(wanted)}
    start, known = int(index.key_pts[0]), set(index.pts.tolist())
    with open_video(source, damage) as (container, stream):
        if start not in known:  # Errors are to be those of their packets.
            stream.thread_type = "SLICE"
        for frame in decode(
            container, stream, damage, slots, start, known=known
        ):
            if frame.pts in slots:
                taken.put(slots.pop(frame.pts), frame)
            if not slots:
                return taken.array
    raise _Broken("a frame does not come out")


def decode(container, stream, damage, wanted, start, *, known=()):
    """Decode the wanted frames and the frames that they depend on.

    Args:
        container, stream: What to decode, from its current position.
        damage: `Damage`, which reports damage.
        wanted: Times of frames, set or dict.
        start: Time of the keyframe to begin with. Earlier frames may depend
            on others before it, and are left out.
        known: Set of times before `start` at which frames can be decoded.
    """
    context = stream.codec_context
    is_first = None
    for packet in packets_of(container, stream):
        pts = packet.pts
        if pts is not None and pts < start and not packet.is_discard:
            if pts not in known:
                continue
        if is_first is None:  # What it needs may have been cut away.
            is_first = bool(known) and pts not in known
        _check_zeros(packet, context.name, damage)
        needed = is_first or pts is None or pts in wanted
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        try:
            frames = decoded(packet)
        except av.FFmpegError:
            if not is_first:
                raise
            continue
        is_first &= not frames
        yield from _sound(frames)


def _check_zeros(packet, codec, damage):
    """Report a frame with a part that was never written, or wiped."""
    if codec in WITHOUT_ZEROS and ZEROS.search(bytes(packet)):
        raise _Broken("zeros stand in a frame")
    if codec in SELDOM_ZEROS and MANY_ZEROS.search(bytes(packet)):
        damage.warn("may be damaged: many zeros stand in a frame.")


def _sound(frames):
    """Frames, unless the decoder says that one is corrupt."""
    if any(frame.is_corrupt for frame in frames):
        raise _Broken("a frame is corrupt")
    return frames


def packets_of(container, stream):
    """Packets but for empty ones, which repeat the previous frame."""
    for packet in container.demux(stream):
        if packet.size or packet.pts is None:
            yield packet


def _read_what_is_left(source, wanted, size, damage):
    """Frames; a lost one is replaced by the one before, as in a player."""
    taken = Frames(len(wanted), size, damage)
    slot, shown = 0, None
    for frame in frames_in_order(source, damage, is_strict=False):
        if frame.pts is None:
            continue
        while slot < len(wanted) and frame.pts > wanted[slot]:
            taken.put(slot, frame if shown is None else shown)
            slot += 1
        shown = frame
        if slot == len(wanted):
            break
    if shown is None:
        damage.fail(f"has no frame that can be decoded. {COPY}")
    for rest in range(slot, len(wanted)):
        taken.put(rest, shown)
    return taken.array


def frames_in_order(source, damage, is_strict):
    """All frames, in the order of the decoder.

    Raises:
        `FAULTS`: If `is_strict` and anything is damaged.
    """
    with open_video(source, damage, is_strict=is_strict) as (container, stream):
        codec = stream.codec_context.name
        packets = packets_of(container, stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if is_strict:
                    _check_zeros(packet, codec, damage)
                frames = decoded(packet)
            except av.FFmpegError:
                if is_strict:
                    raise
                continue
            yield from _sound(frames) if is_strict else frames


def times_in_order(source, fps, damage):
    """Seconds of all frames, found by decoding them.

    Args:
        source: `Source`.
        fps: Float. Frames per second if the file has no times.
        damage: `Damage`, which reports damage.

    Returns:
        Tuple of float64 (n,) and whether decoding can be strict.
    """
    is_strict = True
    try:
        found = _in_order(source, damage, is_strict)
    except FAULTS as error:
        damage.found(f"is truncated or damaged: {_say(error)}.")
        is_strict = False
        found = _in_order(source, damage, is_strict)
    pts, scale, may_be_joined = found
    if not pts:
        damage.fail(f"has no frame. {COPY}")
    if None in pts:
        return np.arange(len(pts)) / fps, is_strict
    times = np.array(pts) * scale.numerator / scale.denominator
    if may_be_joined:
        return _without_leaps(times, fps), is_strict
    if len(set(pts)) < len(pts):
        return np.arange(len(pts)) / fps, is_strict
    # The times in a file may be in the order of decoding.
    return np.sort(times) - times.min(), is_strict


def _in_order(source, damage, is_strict):
    """Times of decoded frames, their unit, and whether they may jump."""
    with open_video(source, damage) as (container, stream):
        scale, may_be_joined = stream.time_base, container.format.name in JOINED
    frames = frames_in_order(source, damage, is_strict)
    return [frame.pts for frame in frames], scale, may_be_joined


def _without_leaps(times, fps):
    """Times without the jumps of a clock that was reset."""
    steps = np.diff(times)
    good = (steps > 0) & (steps <= LEAP_SECONDS)
    if good.mean() < 0.5 and len(steps):
        return np.arange(len(times)) / fps
    # Where a clock was reset, a frame lasts as long as the others.
    usual = np.median(steps[good]) if good.any() else 1 / fps
    steps = np.where(good, steps, usual)
    return np.concatenate([[0.0], np.cumsum(steps)])


def read_in_order(source, chosen, size, damage, *, is_strict):
    """Decode everything up to the last of the frames of given numbers."""
    taken = Frames(len(chosen), size, damage)
    slots = {number: slot for slot, number in enumerate(chosen.tolist())}
    for number, frame in enumerate(frames_in_order(source, damage, is_strict)):
        if number in slots:
            taken.put(slots[number], frame)
        if number >= chosen[-1]:
            break
    return taken.array


def read_animation(animation, chosen, size, damage):
    """The frames of given numbers of an `Animation`."""
    taken = Frames(len(chosen), size, damage)
    for slot, pixels in enumerate(animation.read(chosen)):
        taken.put_array(slot, pixels)
    return taken.array
