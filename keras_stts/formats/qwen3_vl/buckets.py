"""Room for all videos and images that a converter makes."""

import math

from keras_stts.data.sampling import MIN_FRAMES
from keras_stts.preprocessing.qwen3_vl.sizes import most_pixels

# Fewest temporal patches of a bucket that is made for no one's data.
LEAST_FRAMES = 8
# Width by height of frames for which there is room.
ASPECT = 16


def default_buckets(converter):
    """Pairs (T, P) for all videos that a converter makes.

    The pixels of a video are limited as a whole, so that many frames are
    small ones: each bucket has twice the frames of the one before, and room
    for the blocks that a video has which the one before does not hold. Frames
    that are more than `ASPECT` times as wide as high may not fit.

    Args:
        converter: Dict of arguments of `Qwen3VLVideoConverter`.
    """
    pairs = converter["temporal_patch_size"]
    most = max(-(-converter["num_frames"] // pairs), 1)
    lengths = [most]
    while lengths[-1] > LEAST_FRAMES:
        lengths.append(-(-lengths[-1] // 2))
    shorter = [*lengths[1:], 0]
    buckets = [
        (frames, _most_blocks(converter, max(pairs * fewer + 1, MIN_FRAMES)))
        for frames, fewer in zip(lengths, shorter)
    ]
    # Files of fewer frames than are asked for: each may be a large one.
    fewest = min(MIN_FRAMES // pairs, most)
    largest = _most_blocks(converter, pairs)
    if largest > buckets[-1][1]:
        buckets.append((fewest, largest))
    return buckets[::-1]


def _most_blocks(converter, num_frames):
    """Blocks of the largest frame of a video of so many frames, or more.

    Whether a size is within the limits is asked of a rounded number of frames,
    which may be one less: so the next few allow more than the first.
    """
    side = converter["patch_size"] * converter["merge_size"]
    pairs = converter["temporal_patch_size"]
    areas = []
    for number in range(num_frames, num_frames + 2 * pairs):
        limit = most_pixels(
            number,
            min_pixels=converter["min_pixels"],
            max_pixels=converter["max_pixels"],
            frame_pixels=_frame_pixels(converter, side),
        )
        areas.append(limit / (round(number / pairs) * pairs))
    blocks = max(areas) / side**2
    # No side is smaller than a block, so narrow frames are larger.
    return max(int(blocks), int(math.sqrt(ASPECT * blocks)), 1)


def _frame_pixels(converter, side):
    most = converter["max_frame_blocks"]
    return None if most is None else most * side**2


def most_image_blocks(converter):
    """Blocks of the largest image that a converter makes."""
    side = converter["patch_size"] * converter["merge_size"]
    return converter["image_max_pixels"] // side**2
