"""Parts of a video that were seen one after the other."""

import keras
from keras import ops

from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.places import places_of
from keras_stts.ops.selection import Selection

BY_BLOCK = ("embeddings", "additions")


def join_parts(parts):
    """One video of parts, each with pruning of its own.

    Args:
        parts: List of dicts of the embeddings (B, K, D) of a part's blocks,
            the `"selection"`, if blocks are pruned, and what else is known of
            frames, (B, T, ...). All have as many frames.

    Returns:
        Such a dict of them all. Of pruned parts kept blocks come before
        padding.
    """
    if len(parts) == 1:
        return parts[0]
    whole = {
        name: keras.tree.map_structure(
            lambda *x: ops.concatenate(x, axis=1), *[p[name] for p in parts]
        )
        for name in parts[0]
        if name != "selection"
    }
    if "selection" not in parts[0]:
        return whole
    selections = [part["selection"] for part in parts]
    mask = ops.concatenate([each.mask for each in selections], axis=1)
    kept = ops.concatenate([each.kept for each in selections], axis=1)
    number, total = mask.shape[1], kept.shape[1] * kept.shape[2]
    order = places_of(mask, number)
    mask = pack_blocks(mask, order)
    index = places_of(ops.reshape(kept, (-1, total)), number)
    index = ops.where(mask, index, total - 1)
    for name in BY_BLOCK:
        if name in whole:
            whole[name] = keras.tree.map_structure(
                lambda x: pack_blocks(x, order), whole[name]
            )
    return {**whole, "selection": Selection(index, mask, kept)}
