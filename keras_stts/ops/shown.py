"""Image and video features, put into the language model's embeddings."""

import keras
from keras import ops

from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.places import places_of


def at_placeholders(vision, sequence, is_placeholder):
    """Vision features where their placeholders are, zeros elsewhere.

    Args:
        vision: Tensor (B, M + K, D), tokens of images and kept blocks.
        sequence: The `keras_stts.ops.sequence.Sequence` of the tokens.
        is_placeholder: Bool tensor (B, S).

    Returns:
        Tensor (B, S, D).
    """
    at_tokens = pack_blocks(vision, sequence.block)
    shown = ops.cast(is_placeholder, vision.dtype)
    return at_tokens * ops.expand_dims(shown, -1)


def gather_patches(features, pooling):
    """Take the patches that each token of an image pools.

    Args:
        features: Tensor (B, N, F), of all patches of all crops.
        pooling: Int tensor (B, M, g), the patches of each token, -1 for none.
            A token without patches is padding, which comes last.

    Returns:
        Tuple (patches, mask, count): tensor (B, M, g, F), bool tensor
        (B, M, g) with at least one True for each token, and int32 tensor
        (B,), the number of tokens that are not padding.
    """
    pooling = ops.convert_to_tensor(pooling)
    _, num_tokens, size = pooling.shape
    index = ops.reshape(pooling, (-1, num_tokens * size))
    patches = pack_blocks(features, ops.maximum(index, 0))
    patches = ops.reshape(patches, (-1, num_tokens, size, features.shape[-1]))
    mask = pooling >= 0
    real = ops.any(mask, axis=-1)
    count = ops.sum(ops.cast(real, "int32"), axis=-1)
    mask = mask | ops.logical_not(real)[..., None]
    return patches, mask, count


def without_padding(vision, frames):
    """Put the real blocks of all frames before what frames lack.

    Args:
        vision: Dict of which `"selection"`, `"embeddings"` and `"additions"`
            are used, the latter two of all T * P blocks if there is no
            selection.
        frames: `keras_stts.ops.Frames`, with `grids`.

    Returns:
        The dict, with `"order"`, int32 (B, T * P): the places of the real
        blocks among all, in order; those after them do not matter.
    """
    num_frames = frames.mask.shape[1]
    if "selection" in vision:
        num_blocks = vision["selection"].kept.shape[2]
    else:
        num_blocks = vision["embeddings"].shape[1] // num_frames
    like = ops.broadcast_to(
        frames.mask[..., None], (*ops.shape(frames.mask), num_blocks)
    )
    total = num_frames * num_blocks
    real = ops.reshape(frames.real(like), (-1, total))
    order = places_of(real, total)
    vision = {**vision, "order": order}
    if "selection" in vision:
        return vision
    for name in ("embeddings", "additions"):
        if name in vision:
            vision[name] = keras.tree.map_structure(
                lambda x: pack_blocks(x, order), vision[name]
            )
    return vision
