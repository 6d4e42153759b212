"""Inputs that transformers' processor and ours are asked for alike."""

import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden" / "qwen3_vl"
IMAGE_TOKEN = "<|vision_start|><|image_pad|><|vision_end|>"
VIDEO_TOKEN = "<|vision_start|><|video_pad|><|vision_end|>"
IMAGE_LIMITS = (4096, 12288)
VIDEO_LIMITS = (4096, 40000)
# Of so many patches the pixels of one are kept, beside a hash of all.
PIXELS_STEP = 7
# Rows and columns of patches of a frame.
GRIDS = ((2, 2), (4, 10), (14, 8), (2, 6))
SPECIAL = ("<|endoftext|>", "<|vision_start|>", "<|vision_end|>")
SPECIAL += ("<|image_pad|>", "<|video_pad|>")


def picture(height, width, *, time=0):
    """Waves that move, and a sharp edge: uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x / (5 + c) + time) + np.cos(y / (9 - c) - c * time)
        for c in range(3)
    ]
    image = np.stack(waves, axis=-1) * 63 + 127
    image[:, : (7 * time + width // 3) % width] *= 0.5
    return image.astype("uint8")


def clip(num_frames, height, width):
    """Uint8 (num_frames, height, width, 3)."""
    frames = [picture(height, width, time=t) for t in range(num_frames)]
    return np.stack(frames)


# Each: texts of a batch; sizes of its images; (frames, height, width, frames
# a second) of its videos; side that is padded.
BATCHES = {
    "text": (["Hello there.", "And so on, and on."], [], [], "right"),
    "image": ([f"{IMAGE_TOKEN}What is it?"], [(100, 75)], [], "right"),
    "images": (
        [f"{IMAGE_TOKEN} or {IMAGE_TOKEN}?", "None.", f"Here:{IMAGE_TOKEN}"],
        [(40, 200), (64, 64), (17, 31)],
        [],
        "right",
    ),
    "video": ([f"{VIDEO_TOKEN}When?"], [], [(30, 60, 90, 10.0)], "right"),
    "no_rate": (["See <|video_pad|>now"], [], [(41, 33, 50, None)], "right"),
    "both": (
        [
            f"{IMAGE_TOKEN}like {VIDEO_TOKEN}?",
            f"{VIDEO_TOKEN}{VIDEO_TOKEN}{IMAGE_TOKEN}",
        ],
        [(90, 90), (130, 40)],
        [(50, 48, 64, 29.97), (4, 30, 200, 3.0), (77, 70, 40, 24.0)],
        "left",
    ),
}


def sizes():
    """Ints (n, 3): frames, heights, widths, of all kinds."""
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(8), np.log(5000), (400, 2)))
    frames = np.exp(rng.uniform(np.log(2), np.log(800), (400, 1)))
    table = np.concatenate([frames, sides], axis=1).astype("int64")
    aspect = table[:, 1:].max(axis=1) / table[:, 1:].min(axis=1)
    return table[aspect < 150]


def lengths():
    """Pairs (frames, frames a second) of videos, of all kinds."""
    rng = np.random.default_rng(1)
    frames = np.exp(rng.uniform(0, np.log(60000), 60)).astype("int64")
    rates = rng.choice([1, 7.5, 10, 23.976, 24, 25, 29.97, 30, 60], 60)
    return list(zip(frames.tolist(), rates.tolist()))
