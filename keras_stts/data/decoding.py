"""Frames of a video file: sought, decoded, upright, resized one by one."""

import re

import av
import numpy as np
from av.sidedata.sidedata import Type

from keras_stts.data.indexing import COPY
from keras_stts.data.indexing import LEAP_SECONDS
from keras_stts.data.opening import open_video
from keras_stts.data.resize import resize_frames

# No frame of these codecs holds so many zeros, but before a mark or the end.
ZEROS = re.compile(rb"\0{16}\0*(?![\0\1]|\Z)")
WITHOUT_ZEROS = (
    "h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3",
)  # fmt: skip


class _Broken(Exception):
    """A frame that cannot be decoded, or that does not come out."""


FAULTS = (_Broken, av.FFmpegError)


def read_indexed(source, index, chosen, size, damage):
    """Decode the frames of an index.

    Args:
        source: `Source`.
        index: `VideoIndex` with `pts`.
        chosen: Int (T,), rising numbers of frames.
        size: Optional (height, width) or int.
        damage: `Damage`, which is told.

    Returns:
        Uint8 (T, H, W, 3).
    """
    wanted, known = index.pts[chosen].tolist(), set(index.pts.tolist())
    for seeks in (True, False):
        keys = index.key_pts if seeks else index.key_pts[:0]
        try:
            return _read(source, wanted, known, keys, size, damage)
        except FAULTS as error:
            reason = error
        except MemoryError as error:
            damage.fail(
                "needs more memory than there is. Scale it down.", error
            )
    damage.found(f"is truncated or damaged: {_say(reason)}.")
    return _read_what_is_left(source, wanted, size, damage)


def _say(reason):
    if isinstance(reason, _Broken):
        return str(reason)
    return "frames cannot be decoded"


def _read(source, wanted, known, keys, size, damage):
    """Decode from the keyframe before each wanted frame, or from the first."""
    taken = Frames(len(wanted), size, damage)
    with open_video(source, damage) as (container, stream):
        decoder, last = None, None
        for slot, target in enumerate(wanted):
            before = keys[keys <= target]
            start = int(before[-1]) if len(before) else None
            if decoder is None or start is not None and start > last:
                if start is not None:
                    container.seek(start, stream=stream)
                decoder = decode(container, stream, set(wanted), known, start)
            for frame in decoder:
                last = frame.pts
                if last is None or last >= target:
                    break
            if last != target:
                raise _Broken("a frame does not come out")
            taken.put(slot, frame)
    return taken.array


def decode(container, stream, wanted, known, start=None):
    """Decode frames, but for those not wanted that no other one needs.

    Args:
        container, stream: Where to go on.
        wanted: Set of times of frames.
        known: Set of times of all frames. Packets of others are left out.
        start: Optional time before which no frame is needed.
    """
    context = stream.codec_context
    checks = context.name in WITHOUT_ZEROS
    for packet in container.demux(stream):
        pts = packet.pts
        if pts is not None and not packet.is_discard:
            if pts not in known or start is not None and pts < start:
                continue
        if checks and ZEROS.search(bytes(packet)):
            raise _Broken("zeros stand in a frame")
        needed = pts is None or pts in wanted
        context.skip_frame = "DEFAULT" if needed else "NONREF"
        yield from packet.decode()


def _read_what_is_left(source, wanted, size, damage):
    """Frames, or where one is lost, that before it: as a player shows them."""
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
    """All frames, as they come out.

    Raises:
        `FAULTS`: If it is strict and anything is damaged.
    """
    with open_video(source, damage, is_strict) as (container, stream):
        checks = is_strict and stream.codec_context.name in WITHOUT_ZEROS
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if checks and ZEROS.search(bytes(packet)):
                    raise _Broken("zeros stand in a frame")
                frames = packet.decode()
            except av.FFmpegError:
                if is_strict:
                    raise
                continue
            yield from frames


def times_in_order(source, fps, damage):
    """Seconds of all frames, found by decoding them.

    Args:
        source: `Source`.
        fps: Float. Frames a second where the file does not tell times.
        damage: `Damage`, which is told.

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
    pts, scale = found
    if not pts:
        damage.fail(f"has no frame. {COPY}")
    if None in pts:
        return np.arange(len(pts)) / fps, is_strict
    times = np.array(pts) * scale.numerator / scale.denominator
    steps = np.diff(times)
    good = (steps > 0) & (steps <= LEAP_SECONDS)
    if good.mean() < 0.5 and len(steps):
        return np.arange(len(pts)) / fps, is_strict
    # Where a clock was set anew, a frame stays as long as others do.
    usual = np.median(steps[good]) if good.any() else 1 / fps
    steps = np.where(good, steps, usual)
    return np.concatenate([[0.0], np.cumsum(steps)]), is_strict


def _in_order(source, damage, is_strict):
    pts, scale = [], None
    for frame in frames_in_order(source, damage, is_strict):
        pts.append(frame.pts)
        scale = frame.time_base
    return pts, scale


def read_in_order(source, chosen, size, is_strict, damage):
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


class Frames:
    """Room for so many frames, all of the size of the first or of `size`."""

    def __init__(self, count, size, damage):
        self.count, self.size, self.damage = count, size, damage
        self.array = None

    def put(self, slot, frame):
        pixels = frame.to_ndarray(format="rgb24")
        self.put_array(slot, _upright(pixels, frame, self.damage))

    def put_array(self, slot, pixels):
        if self.size is not None:
            pixels = resize_frames(pixels[None], self.size)[0]
        if self.array is None:
            self.array = np.zeros((self.count, *pixels.shape), "uint8")
        if pixels.shape != self.array.shape[1:]:
            what = f"changes its size from {self.array.shape[1:3]} to "
            self.damage.fail(f"{what}{pixels.shape[:2]}. Pass `size`.")
        self.array[slot] = pixels


def _upright(pixels, frame, damage):
    """Pixels turned and flipped as the file says they are to be shown."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return pixels
    # x of a place that is shown is a * x + c * y, and y is b * x + d * y.
    (a, b, _), (c, d, _), _ = np.frombuffer(matrix, "int32").reshape(3, 3)
    a, b, c, d = (int(value) for value in (a, b, c, d))
    is_turned = abs(a) + abs(d) < abs(b) + abs(c)
    if a * b or c * d:
        damage.warn("is tilted, and is turned to the nearest quarter.")
    if is_turned:
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
