"""Image and video features, put into the language model's embeddings."""

from keras import ops

from keras_stts.ops.packing import pack_blocks


def add_vision(x, vision, sequence, placeholder_id):
    """Add vision features to the embeddings of their placeholders.

    Args:
        x: Tensor (B, S, D), embeddings of the tokens.
        vision: Tensor (B, M + K, D), tokens of images and kept blocks.
        sequence: The `keras_stts.ops.sequence.Sequence` of the tokens.
        placeholder_id: Int.

    Returns:
        Tensor (B, S, D).
    """
    at_tokens = pack_blocks(vision, sequence.block)
    is_block = sequence.mask & (sequence.token_ids == placeholder_id)
    is_block = ops.cast(is_block, x.dtype)
    return x + at_tokens * ops.expand_dims(is_block, -1)


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
