"""An array of frames: upright, and of one size."""

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

from keras_stts.data.resize import resize_frames


class Frames:
    """An array of frames, all of the size of the first or of `size`.

    Args:
        count: Int. Number of frames.
        size: See `keras_stts.data.read_video`.
        damage: `Damage`, which reports damage.
    """

    def __init__(self, count, size, damage):
        self.count, self.size, self.damage = count, size, damage
        self.array = None
        # A frame's own reformatter starts as many threads as there are cores.
        self._reformatter = VideoReformatter()

    def put(self, slot, frame):
        pixels = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        self.put_array(slot, upright(pixels, frame, self.damage))

    def put_array(self, slot, pixels):
        pixels = resized(pixels, self.size, self.count)
        if self.array is None:
            self.array = np.zeros((self.count, *pixels.shape), "uint8")
        if pixels.shape != self.array.shape[1:]:
            what = f"changes its size from {self.array.shape[1:3]} to "
            self.damage.fail(f"{what}{pixels.shape[:2]}. Pass `size`.")
        self.array[slot] = pixels


def resized(frame, size, count):
    """One of `count` frames, uint8 (H, W, 3), in the size for all.

    Args:
        size: See `keras_stts.data.read_video`.
    """
    if callable(size):
        return size(frame, count)
    return frame if size is None else resize_frames(frame[None], size)[0]


def upright(pixels, frame, damage):
    """Pixels rotated and mirrored as the file says."""
    try:
        # `frame.side_data` and its frame refer to each other, so hundreds of
        # frames would stay in memory until Python's garbage collection.
        matrix = SideDataContainer(frame).get(Type.DISPLAYMATRIX)
    except ValueError:  # The frame has side data that PyAV does not know.
        return np.rot90(pixels, round(frame.rotation / 90))
    if matrix is None:
        return pixels
    # A pixel (x, y) is shown at (a * x + c * y, b * x + d * y).
    (a, b, _), (c, d, _), _ = np.frombuffer(matrix, "int32").reshape(3, 3)
    a, b, c, d = (int(value) for value in (a, b, c, d))
    is_turned = abs(a) + abs(d) < abs(b) + abs(c)
    if a * b or c * d:
        damage.warn("is tilted, and is rotated to the nearest right angle.")
    if is_turned:
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
