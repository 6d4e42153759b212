"""One vision block: on whole frames, packed, and as published."""

import functools
import time

import keras
import numpy as np
from keras import ops

from device import programs
from device import published_packing
from device import sizes
from keras_stts.flops import block_flops
from keras_stts.flops import packed_pairs
from keras_stts.layers import RaggedPacking
from keras_stts.layers import TokenPruning
from keras_stts.models.sizes import of_backbone
from keras_stts.ops import attention
from keras_stts.ops import num_kept_blocks
from keras_stts.ops import spread_to_patches


def scores_of(num_frames, num_blocks):
    """Scores (1, T, P) by which some frames keep much and others little."""
    scores = np.random.default_rng(0).beta(
        0.5, 0.5, (1, num_frames, num_blocks)
    )
    return scores.astype("float32")


def whole(block, num_frames, num_patches, width, dtype):
    """A function, and its arguments: patches of whole frames."""
    x = keras.random.normal((num_frames, num_patches, width), dtype=dtype)
    return block, (x,)


def packed(block, ratio, num_frames, num_patches, width, dtype):
    """The same of kept patches; finding their places is part of it."""
    selection = TokenPruning(ratio)(scores_of(num_frames, num_patches // 9))
    packing = RaggedPacking(window=3, dtype=dtype)
    packing.build((1, num_frames, num_patches, width))

    def run(x, *flat):
        chosen = keras.tree.pack_sequence_as(selection, list(flat))
        attend = functools.partial(
            packing.attention, layout=packing.layout(chosen)
        )
        return block(x, attend=attend)

    kept = selection.index.shape[1] * 9
    x = keras.random.normal((1, kept, width), dtype=dtype)
    return run, (x, *keras.tree.flatten(selection))


def published(block, ratio, num_frames, num_patches, width, dtype):
    """The same of the published packing's rows, which are found before.

    Returns:
        Tuple (function, arguments, seconds that finding the rows took).
    """
    selection = TokenPruning(ratio)(scores_of(num_frames, num_patches // 9))
    side = int(num_patches**0.5)
    kept = spread_to_patches(selection.kept, 3, (side, side))
    kept = ops.convert_to_numpy(kept)[0].astype(bool)
    start = time.perf_counter()
    index, mask = published_packing.layout(kept)
    seconds = time.perf_counter() - start
    mask = ops.convert_to_tensor(mask)

    def run(x, mask):
        return block(x, attend=functools.partial(attention, mask=mask))

    x = keras.random.normal((*index.shape, width), dtype=dtype)
    return run, (x, mask), seconds


def counted(size, num_frames, ratio=0.0, layout="packed"):
    """Operations of a block that runs forward."""
    side, blocks = sizes.grid(size)
    widths = sizes.vision_sizes(size)
    if not ratio:
        return block_flops(*widths, num_frames * side**2, num_frames * side**4)
    kept = num_kept_blocks(blocks, num_frames, ratio)
    pairs = packed_pairs(num_frames, blocks, kept, 9, layout)
    return block_flops(*widths, kept * 9, pairs)


def variants(model, num_frames, ratios):
    """Names to (function, arguments, operations, facts), forward."""
    encoder = model.backbone.vision_encoder
    block, dtype = encoder.blocks[-1], encoder.compute_dtype
    size = of_backbone(model.backbone)
    patches = sizes.grid(size)[0] ** 2
    shape = (num_frames, patches, encoder.hidden_dim, dtype)
    found = {
        "whole": (*whole(block, *shape), counted(size, num_frames), {}),
    }
    for ratio in ratios:
        count = counted(size, num_frames, ratio)
        made = packed(block, ratio, *shape)
        found[f"{ratio:.0%} pruned"] = (*made, count, {})
    for ratio in ratios:
        run, args, seconds = published(block, ratio, *shape)
        rows = args[0].shape[0]
        count = counted(size, rows)
        facts = {"rows": rows, "packing_seconds": seconds}
        found[f"{ratio:.0%} as published"] = (run, args, count, facts)
    return block, found


def blocks(models, num_frames, ratios):
    """Programs of all variants by phase and name, and of each name what is
    counted and other facts."""
    backend = programs.backend()
    block, found = variants(next(iter(models.values())), num_frames, ratios)
    makers = {
        "vision block": backend.forward,
        "vision block and slopes": backend.gradient,
    }
    made = {
        (phase, name): make(block, run, *args)
        for phase, make in makers.items()
        for name, (run, args, *_) in found.items()
    }
    return made, {n: (count, facts) for n, (*_, count, facts) in found.items()}


def rows(num_frames, made, counts, rounds):
    """Times of all variants, forward and with gradients."""
    for phase in dict.fromkeys(phase for phase, _ in made):
        measured = programs.measure(
            {name: made[phase, name] for name in counts}, rounds
        )
        cost = 3 if phase.endswith("slopes") else 1
        for name, (count, facts) in counts.items():
            yield {
                "phase": phase,
                "frames": num_frames,
                "variant": name,
                "operations": cost * count,
                **facts,
                **measured[name],
            }
