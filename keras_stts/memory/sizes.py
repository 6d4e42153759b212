"""How many tokens of each kind a batch has, told from a model's arguments."""

import inspect
import itertools
import types
from collections import namedtuple

from keras_stts.data.image import largest_tiling
from keras_stts.flops import _prefix_lengths
from keras_stts.flops import _prunes_inside
from keras_stts.models.video_vlm_backbone import IMAGE_WINDOW
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.ops import block_grid
from keras_stts.ops import merge_schedule
from keras_stts.ops import num_kept_blocks
from keras_stts.pruning import STTS
from keras_stts.pruning import ToMe
from keras_stts.pruning import get as get_pruning
from keras_stts.pruning import language

Tokens = namedtuple(
    "Tokens",
    [
        "batch",
        "frames",
        "crops",
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
    crops: Int, of the images of all rows.
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


def defaults():
    """Dict of the arguments of `VideoVLMBackbone` that have a default."""
    parameters = inspect.signature(VideoVLMBackbone.__init__).parameters
    return {
        name: p.default
        for name, p in parameters.items()
        if p.default is not p.empty and name != "dtype"
    }


def needed():
    """Names of the arguments of `VideoVLMBackbone` without a default."""
    parameters = inspect.signature(VideoVLMBackbone.__init__).parameters
    kinds = (inspect.Parameter.VAR_KEYWORD,)
    return [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in kinds and name != "self"
    ]


def config_of(backbone):
    """The arguments that a `VideoVLMBackbone` was made with."""
    return {name: getattr(backbone, name) for name in backbone._config_names}


def uses_scorer(config):
    """Whether the scorer is run, and trained."""
    runs = bool(config["prune_ratio"]) and bool(config["num_frames"])
    return runs and isinstance(get_pruning(config["pruning"]), STTS)


def count_tokens(config, batch_size, text_length, time_tokens):
    """The `Tokens` of a batch.

    Args:
        config: Dict of the arguments of `VideoVLMBackbone`.
        batch_size: Int.
        text_length: Int S', of a row.
        time_tokens: Int, of a frame's time.
    """
    model = types.SimpleNamespace(**config)
    side = model.image_size // model.patch_size
    model.grid = block_grid((side, side), model.window)
    model.num_blocks = model.grid[0] * model.grid[1]
    model.language_pruning = language.get(model.language_pruning)
    method = get_pruning(model.pruning)
    frames, patches = model.num_frames, side**2
    images, crops = 0, 0
    if model.num_images:
        crops = model.num_images * (model.max_crops + 1)
        tokens, _ = largest_tiling(
            model.image_size, model.patch_size, IMAGE_WINDOW, model.max_crops
        )
        images = model.num_images * tokens
    merges = isinstance(method, ToMe)
    inside = model.prune_ratio if _prunes_inside(method) else 0.0
    kept, shown = (
        num_kept_blocks(model.num_blocks, frames, ratio, model.num_segments)
        if frames
        else 0
        for ratio in (inside, 0.0 if merges else model.prune_ratio)
    )
    length = frames * (2 + time_tokens) + model.num_segments + shown + images
    whole = (frames + crops) * patches
    late = kept * model.window**2 + crops * patches
    if model.refill or not inside:
        late = whole
    first = model.prune_layer + 2
    layers = [
        whole if i < first else late for i in range(model.vision_num_layers)
    ]
    if merges and model.prune_ratio:
        merged = merge_schedule(patches, len(layers), model.prune_ratio)
        gone = list(itertools.accumulate(merged, initial=0))
        layers = [whole - frames * count for count in gone[:-1]]
    return Tokens(
        batch=batch_size,
        frames=batch_size * frames,
        crops=batch_size * crops,
        patches=patches,
        whole=batch_size * whole,
        kept=batch_size * kept * model.window**2,
        late=[batch_size * n for n in layers],
        blocks=batch_size * frames * model.num_blocks,
        shown=batch_size * (kept + images),
        prefix=[batch_size * n for n in _prefix_lengths(model, length, shown)],
        text=batch_size * text_length,
    )
