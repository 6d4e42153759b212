"""How many tokens of each kind a batch has, told from a model's arguments."""

import itertools
import types
from collections import namedtuple

from keras_stts.flops import count_blocks
from keras_stts.flops import prefix_lengths
from keras_stts.flops import prunes_inside
from keras_stts.models.sizes import counted
from keras_stts.ops import merge_schedule

Tokens = namedtuple(
    "Tokens",
    [
        "batch",
        "frames",
        "patches",
        "whole",
        "kept",
        "late",
        "blocks",
        "shown",
        "prefix",
        "text",
    ],
)
Tokens.__doc__ = """Numbers of tokens of a batch on one chip.

Attributes:
    batch: Int B, rows.
    frames: Int, of all rows.
    patches: Int, of one frame.
    whole: Int, patches of all frames and crops.
    kept: Int, patches that the packed vision blocks run on, crops' too.
    late: List of ints, one a vision block: patches that it runs on.
    blocks: Int, all blocks of all frames.
    shown: Int, tokens that the connector makes.
    prefix: List of ints, one a block of the language model: tokens of the
        vision part that it sees.
    text: Int, tokens of the text part of all rows.
"""


def count_tokens(config, batch_size, text_length, time_tokens):
    """The `Tokens` of a batch.

    Args:
        config: Dict, see `keras_stts.models.sizes.of_backbone`.
        batch_size: Int.
        text_length: Int S', of a row.
        time_tokens: Int, of a frame's time.
    """
    model = types.SimpleNamespace(**counted(config))
    frames, patches = model.num_frames, model.frame_patches
    images = model.num_image_tokens
    kept, shown = count_blocks(model, frames, model.prune_ratio)
    whole = frames * patches + model.image_patches
    late = kept * model.window**2 + model.image_patches
    length = frames * (2 + time_tokens) + model.num_segments + shown + images
    return Tokens(
        batch=batch_size,
        frames=batch_size * frames,
        patches=patches,
        whole=batch_size * whole,
        kept=batch_size * kept * model.window**2,
        late=[batch_size * n for n in _by_vision_block(model, whole, late)],
        blocks=batch_size * frames * model.num_blocks,
        shown=batch_size * (kept + images),
        prefix=[batch_size * n for n in prefix_lengths(model, length, shown)],
        text=batch_size * text_length,
    )


def _by_vision_block(model, whole, late):
    """Patches of a row that each vision block runs on.

    Args:
        model: The sizes of a backbone, as attributes.
        whole: Int, patches of all frames and crops.
        late: Int, those that are left after the pruning.
    """
    method, count = model.pruning, model.vision_num_layers
    if model.prune_ratio and not method.prunes_blocks:
        merged = merge_schedule(model.frame_patches, count, model.prune_ratio)
        gone = itertools.accumulate(merged[:-1], initial=0)
        return [whole - model.num_frames * n for n in gone]
    inside = model.prune_ratio and prunes_inside(method)
    first = model.prune_layer + 2 if inside and not model.refill else count
    return [whole if i < first else late for i in range(count)]
