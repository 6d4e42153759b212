"""Placeholders of images and videos in Qwen3-VL's prompts."""

import re

import numpy as np

VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"


def expand_prompt(
    text, *, image_grids=(), videos=(), merge_size=2, outer_marks=True
):
    """Write out what stands for images and videos in a prompt.

    A chat template leaves one `<|image_pad|>` for an image and one
    `<|video_pad|>` for a video, both between `<|vision_start|>` and
    `<|vision_end|>`. An image becomes as many as it has merged patches; a
    video becomes, for each temporal patch, its time and its own placeholders
    between marks of its own.

    Args:
        text: Str.
        image_grids: Ints (n, 3): t, h and w of the images, in order.
        videos: Pairs (grid, times) of the videos, in order: t, h and w, and t
            seconds, see `patch_times`.
        merge_size: Int. Side of what a token stands for, in patches.
        outer_marks: Bool. Whether the template's own marks stay around a video,
            as in transformers 5.23. In transformers 4.57 they did not.

    Returns:
        Str.

    Raises:
        ValueError: If the text has more or fewer of them, or a video has not a
            time for each temporal patch.

    Example:

    >>> expand_prompt("a <|image_pad|>", image_grids=[(1, 2, 4)])
    'a <|image_pad|><|image_pad|>'
    """
    parts = {
        IMAGE_PAD: [
            IMAGE_PAD * _count(grid, merge_size) for grid in image_grids
        ],
        VIDEO_PAD: [
            video_text(grid, times, merge_size=merge_size)
            for grid, times in videos
        ],
    }
    for pad, replacements in parts.items():
        if text.count(pad) != len(replacements):
            raise ValueError(
                f"A prompt must have one {pad} for each "
                f"{'image' if pad == IMAGE_PAD else 'video'}. Received: "
                f"{text.count(pad)} in the prompt, {len(replacements)} given."
            )
    if not outer_marks:
        marked = f"{VISION_START}{VIDEO_PAD}{VISION_END}"
        text = text.replace(marked, VIDEO_PAD)
    queues = {pad: iter(replacements) for pad, replacements in parts.items()}
    pattern = "|".join(map(re.escape, parts))
    return re.sub(pattern, lambda match: next(queues[match[0]]), text)


def video_text(grid, times, *, merge_size=2):
    """What stands for a video: times and placeholders.

    Args:
        grid: Three ints: t, h and w, in patches.
        times: Numbers (t,), seconds.
        merge_size: Int.

    Returns:
        Str.

    Raises:
        ValueError: If there are not t times.

    Example:

    >>> video_text((1, 2, 2), [0.25])
    '<0.2 seconds><|vision_start|><|video_pad|><|vision_end|>'
    """
    if len(times) != grid[0]:
        raise ValueError(
            "A video must have a time for each temporal patch. Received: "
            f"{len(times)} times, grid={tuple(int(n) for n in grid)}."
        )
    pads = VIDEO_PAD * _count((1, *grid[1:]), merge_size)
    frame = f"{VISION_START}{pads}{VISION_END}"
    return "".join(f"<{seconds:.1f} seconds>{frame}" for seconds in times)


def _count(grid, merge_size):
    return int(np.prod(grid)) // merge_size**2
