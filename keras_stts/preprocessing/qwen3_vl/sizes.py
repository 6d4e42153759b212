"""To which size images and videos are resized: "smart resize"."""

import dataclasses
import math

from keras_stts.data.bicubic import resize_bicubic

MAX_ASPECT = 200
# What a short video's budget is raised to where frames have a limit.
HEADROOM = 1.05


def image_size(height, width, *, min_pixels, max_pixels, factor=32):
    """The size that an image is resized to.

    Sides are multiples of `factor`, the area is between the two limits, and
    the aspect ratio is kept as well as that allows.

    Args:
        height, width: Ints. The image's, in pixels.
        min_pixels, max_pixels: Ints. Limits of the area, in pixels. Published
            are 65,536 and 16,777,216.
        factor: Int. Side of a merged patch, in pixels.

    Returns:
        Tuple of ints (height, width).

    Raises:
        ValueError: If a side is more than 200 times the other, or a number is
            not positive.

    Example:

    >>> image_size(480, 640, min_pixels=65536, max_pixels=16777216)
    (480, 640)
    """
    _check(min_pixels, max_pixels, height=height, width=width, factor=factor)
    _check_aspect(height, width)
    limits = (min_pixels, max_pixels)
    return _fit(height, width, 1, rounded=1, limits=limits, factor=factor)


def video_size(
    num_frames,
    height,
    width,
    *,
    min_pixels,
    max_pixels,
    factor=32,
    temporal_size=2,
    max_frame_blocks=None,
):
    """The size that all frames of a video are resized to.

    As `image_size`, but the limits are for all frames together.

    Args:
        num_frames: Int. Frames that were chosen.
        height, width: Ints. The video's, in pixels.
        min_pixels, max_pixels: Ints. Limits of the area of all frames
            together, in pixels.
        factor: Int. Side of a merged patch, in pixels.
        temporal_size: Int. Frames of a patch.
        max_frame_blocks: Optional int. Most merged patches of a frame, so
            that short videos do not spend the budget of long ones
            (transformers' `cap_pixels_per_frame` with `max_video_tokens`).

    Returns:
        Tuple of ints (height, width).

    Raises:
        ValueError: If there are fewer frames than a patch has, a side is more
            than 200 times the other, or a number is not positive.

    Example:

    >>> video_size(32, 480, 640, min_pixels=4096, max_pixels=4 * 10**6)
    (288, 384)
    """
    _check(min_pixels, max_pixels, height=height, width=width, factor=factor)
    if num_frames < temporal_size:
        raise ValueError(
            f"A video must have {temporal_size} frames or more, as many as a "
            f"patch. Received: num_frames={num_frames}. Pass a single frame "
            "as an image."
        )
    if max_frame_blocks is not None:
        max_pixels = most_pixels(
            num_frames,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            frame_pixels=max_frame_blocks * factor**2,
        )
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    _check_aspect(height, width)
    return _fit(
        height,
        width,
        num_frames,
        rounded=round(num_frames / temporal_size) * temporal_size,
        limits=(min_pixels, max_pixels),
        factor=factor,
    )


def most_pixels(num_frames, *, min_pixels, max_pixels, frame_pixels=None):
    """Limit of the area of all frames of a video together, in pixels.

    Args:
        num_frames: Int. Frames of the video.
        min_pixels, max_pixels: See `video_size`.
        frame_pixels: Optional int. Most pixels of a frame.
    """
    if frame_pixels is None:
        return max_pixels
    share = min(frame_pixels, max_pixels // num_frames)
    return num_frames * max(share, int(min_pixels * HEADROOM))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoResizing:
    """Resizes frames while they are read: `read_video(..., size=this)`.

    Args: those of `video_size`.

    Example:

    >>> resizing = VideoResizing(min_pixels=4096, max_pixels=4 * 10**6)
    >>> resizing(np.zeros((480, 640, 3), "uint8"), 32).shape
    (288, 384, 3)
    """

    min_pixels: int
    max_pixels: int
    factor: int = 32
    temporal_size: int = 2
    max_frame_blocks: int | None = None

    def __call__(self, frame, num_frames):
        """One of so many frames, uint8 (H, W, 3), in the size for all."""
        limits = dataclasses.asdict(self)
        size = video_size(num_frames, *frame.shape[:2], **limits)
        return resize_bicubic(frame[None], size)[0]


def _fit(height, width, num_frames, *, rounded, limits, factor):
    """Round a size to multiples of `factor`, within limits of the volume.

    Whether it is within them is asked of `rounded` frames, and by how much
    not, of `num_frames`: so it is published.
    """
    sides = [round(side / factor) * factor for side in (height, width)]
    volume = rounded * math.prod(sides)
    min_pixels, max_pixels = limits
    if volume > max_pixels:
        shrink = math.sqrt(num_frames * height * width / max_pixels)
        sides = [
            max(factor, math.floor(side / shrink / factor) * factor)
            for side in (height, width)
        ]
    elif volume < min_pixels:
        grow = math.sqrt(min_pixels / (num_frames * height * width))
        sides = [
            math.ceil(side * grow / factor) * factor for side in (height, width)
        ]
    return tuple(sides)


def _check(min_pixels, max_pixels, **sides):
    if not 0 < min_pixels <= max_pixels or min(sides.values()) < 1:
        given = ", ".join(f"{name}={value}" for name, value in sides.items())
        raise ValueError(
            "Sides must be positive, and `min_pixels` positive and at most "
            f"`max_pixels`. Received: {given}, min_pixels={min_pixels}, "
            f"max_pixels={max_pixels}."
        )


def _check_aspect(height, width):
    if max(height, width) / min(height, width) > MAX_ASPECT:
        raise ValueError(
            f"A side must be at most {MAX_ASPECT} times the other. Received: "
            f"height={height}, width={width}. Cut the picture."
        )
