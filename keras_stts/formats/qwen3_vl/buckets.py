"""Room for all videos and images that a converter makes."""

from keras_stts.data.sampling import MIN_FRAMES
from keras_stts.preprocessing.qwen3_vl.sizes import video_size

# Fewest temporal patches of a bucket that is made for no one's data.
LEAST_FRAMES = 8
# Width by height of frames that default buckets have room for, and a height
# that all limits make smaller.
ASPECTS = (1, 1.2, 1.25, 4 / 3, 1.5, 1.6, 16 / 9, 2, 2.35, 3, 4, 8, 16)
LARGE = 8192


def default_buckets(converter):
    """Pairs (T, P) for all videos that a converter makes.

    The pixels of a video are limited as a whole, so that many frames are
    small ones: each bucket has twice the frames of the one before, and room
    for the blocks that a video has which the one before does not hold. Frames
    that are more than `ASPECTS[-1]` times as wide as high may not fit.

    Args:
        converter: Dict of arguments of `Qwen3VLVideoConverter`.
    """
    pairs = converter["temporal_patch_size"]
    most = max(-(-converter["num_frames"] // pairs), 1)
    lengths = [most]
    while lengths[-1] > LEAST_FRAMES:
        lengths.append(-(-lengths[-1] // 2))
    shorter = [*(n + 1 for n in lengths[1:]), 1]
    return [
        (frames, _most_blocks(converter, max(pairs * fewest, MIN_FRAMES)))
        for frames, fewest in zip(lengths, shorter)
    ][::-1]


def _most_blocks(converter, num_frames):
    """Blocks of the largest frame of a video of so many frames."""
    block = converter["patch_size"] * converter["merge_size"]
    names = ("min_pixels", "max_pixels", "max_frame_blocks")
    limits = {name: converter[name] for name in names}
    temporal = converter["temporal_patch_size"]
    sizes = [
        video_size(
            num_frames,
            LARGE,
            int(LARGE * aspect),
            **limits,
            factor=block,
            temporal_size=temporal,
        )
        for aspect in ASPECTS
    ]
    return max(height * width for height, width in sizes) // block**2


def most_image_blocks(converter):
    """Blocks of the largest image that a converter makes."""
    side = converter["patch_size"] * converter["merge_size"]
    return converter["image_max_pixels"] // side**2
