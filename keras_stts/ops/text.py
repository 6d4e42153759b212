"""Positions and masks of the text that follows a prefix."""

from keras import ops

from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.segments import places_in_segments
from keras_stts.ops.segments import segment_sizes


def text_places(token_ids, start, index=0, length=None):
    """Positions of texts, and which of their own tokens they see.

    Args:
        token_ids: Int tensor (B * R, S): R texts for each prefix, with the
            texts of one prefix side by side.
        start: Int32 tensor (B,), the position at which a text begins.
        index: Int scalar tensor, the index of the first token in a longer
            text of which these tokens are a part.
        length: Optional int, length of that longer text. Defaults to S.

    Returns:
        Tuple (positions, mask): int32 tensor (B * R, S) and bool tensor
        (1, 1, S, length).
    """
    place = ops.arange(token_ids.shape[1], dtype="int32") + index
    keys = ops.arange(length or token_ids.shape[1], dtype="int32")
    mask = (keys[None, :] <= place[:, None])[None, None]
    texts = ops.zeros_like(token_ids[:, :1], dtype="int32")
    texts = ops.reshape(texts, (ops.shape(start)[0], -1))
    start = ops.reshape(texts + start[:, None], (-1, 1))
    return start + place[None], mask


def packed_text_places(
    token_ids, start, segments, prefix_segments, prefix_mask
):
    """`text_places` of texts that share a row, each after its own prefix.

    Args:
        token_ids: Int tensor (B, S).
        start: Int32 tensor (B, M), the position at which the text of each
            sample begins.
        segments: Int tensor (B, S), the sample of each token.
        prefix_segments: Int tensor (B, S1), the sample of each prefix token.
        prefix_mask: Bool tensor (B, S1), False for padding of the prefixes.

    Returns:
        Tuple (positions, mask, prefix mask): int32 tensor (B, S), and bool
        tensors (B, 1, S, S) and (B, S, S1).
    """
    segments = ops.cast(segments, "int32")
    place = ops.arange(token_ids.shape[1], dtype="int32")
    every = ops.ones_like(segments, dtype="bool")
    sizes = segment_sizes(segments, every, start.shape[1])
    positions = places_in_segments(place[None], segments, sizes)
    positions = positions + pack_blocks(start, segments)
    same = segments[:, :, None] == segments[:, None, :]
    mask = same & (place[None, :] <= place[:, None])
    same = segments[:, :, None] == prefix_segments[:, None, :]
    return positions, mask[:, None], same & prefix_mask[:, None, :]


def last_tokens(x, positions, prompt_mask):
    """The last token of each prompt.

    Args:
        x: Tensor (B, S, D).
        positions: Int32 tensor (B, S).
        prompt_mask: Bool tensor (B, S), True at the prompt, which comes
            first.

    Returns:
        Tuple of tensors (B, 1, D) and (B, 1).
    """
    count = ops.sum(ops.cast(prompt_mask, "int32"), axis=-1, keepdims=True)
    last = ops.maximum(count - 1, 0)
    return pack_blocks(x, last), pack_blocks(positions, last)
