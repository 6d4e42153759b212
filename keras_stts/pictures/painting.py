"""Frames with what pruning and merging did painted into them, as pixels."""

import math

import numpy as np

# Parts of 256: mostly luma, with a hint of the colour, at a third of light.
LUMA = np.array([77, 150, 29], "uint16")
COLOR_LEFT, LUMA_LEFT = 23, 69
# How much lighter stripes and lines are: dark scenes show them, too.
STRIPE, LINE = 100, 70
# Videos whose brightest hundredth is below this are shown brighter.
DARK, BRIGHT, MOST_GAIN = 110, 220, 6
GUTTER = 8  # Pixels between two pictures.


def enlarged(frames, scale):
    """Frames (T, H, W, 3), each pixel `scale` by `scale` of them."""
    return frames.repeat(int(scale), axis=1).repeat(int(scale), axis=2)


def stretched(blocks, grid, frames):
    """Repeats (T, P, C) blocks to the frames' size: (T, H, W, C)."""
    rows = np.arange(frames.shape[1]) * grid[0] // frames.shape[1]
    columns = np.arange(frames.shape[2]) * grid[1] // frames.shape[2]
    return blocks.reshape(-1, *grid, blocks.shape[2])[:, rows[:, None], columns]


def brightened(frames):
    """Frames (T, H, W, 3) of a dark video brighter, and by how much."""
    light = np.percentile(frames @ LUMA >> 8, 99)
    if light >= DARK:
        return frames, 1
    gain = min(MOST_GAIN, BRIGHT / max(light, 1))
    return np.minimum(frames * gain, 255).astype("uint8"), gain


def dimmed(frames):
    """Frames (T, H, W, 3) at a third of their light, almost without colour."""
    luma = frames @ LUMA >> 8
    dim = COLOR_LEFT * frames.astype("uint16") + LUMA_LEFT * luma[..., None]
    return (dim >> 8).astype("uint8")


def striped(frames, grid):
    """Dimmed frames with diagonal stripes, which show in dark scenes, too."""
    height, width = frames.shape[1:3]
    block = min(height / grid[0], width / grid[1])
    period = max(4, round(block / 3))
    place = np.arange(height)[:, None] + np.arange(width)
    stripe = STRIPE * (place % period < max(1, period // 4))
    # No dimmed pixel exceeds 91, so that the sum stays below 255.
    return dimmed(frames) + stripe[..., None].astype("uint8")


def pruned(frames, kept, grid, *, stripes):
    """Frames (T, H, W, 3) with blocks dimmed that are not kept (T, P)."""
    mask = stretched(kept[..., None], grid, frames)
    return np.where(
        mask, frames, striped(frames, grid) if stripes else dimmed(frames)
    )


def grouped(frames, groups, grid):
    """Frames of which merged patches have their mean colour.

    Args:
        frames: Uint8 (T, H, W, 3).
        groups: Int (T, N), see `VideoVLM.kept_blocks`.
        grid: (rows, columns) of the N patches.
    """
    number = groups.shape[1]
    place = stretched(groups[..., None], grid, frames)[..., 0]
    result = frames.copy()
    for frame, which, group in zip(result, place, groups):
        size = np.bincount(group, minlength=number)
        pixels = np.maximum(1, np.bincount(which.ravel(), minlength=number))
        for channel in np.moveaxis(frame, -1, 0):
            total = np.bincount(which.ravel(), channel.ravel(), number)
            mean = np.round(total / pixels).astype("uint8")
            channel[:] = np.where(size[which] > 1, mean[which], channel)
    return _with_lines(result, place)


def _with_lines(frames, place):
    """Lines between groups, lighter than dark pixels, darker than light."""
    edge = np.zeros(place.shape, bool)
    edge[:, 1:] |= place[:, 1:] != place[:, :-1]
    edge[:, :, 1:] |= place[:, :, 1:] != place[:, :, :-1]
    luma = frames @ LUMA >> 8
    step = np.where(luma < 128, LINE, -LINE) * edge
    return np.clip(frames + step[..., None], 0, 255).astype("uint8")


def beside(*videos):
    """Videos (T, H, W, 3) side by side, with a white gutter between them."""
    gutter = np.full_like(videos[0][:, :, :GUTTER], 255)
    parts = [part for video in videos for part in (gutter, video)]
    return np.concatenate(parts[1:], axis=2)


def with_even_sides(video):
    """A video with a row and a column more, where H.264 needs them."""
    odd = [(0, side % 2) for side in video.shape[1:3]]
    return np.pad(video, [(0, 0), *odd, (0, 0)], "edge")


def scale_to(pixels, frames):
    """How often small frames (T, H, W, 3) are enlarged to some pixels."""
    return math.ceil(pixels / max(frames.shape[1:3]))
