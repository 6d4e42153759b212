"""Token sequences without the placeholders of pruned blocks."""

from collections import namedtuple

from keras import ops

from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.places import places_of
from keras_stts.ops.reach import Reach
from keras_stts.ops.segments import places_in_segments
from keras_stts.ops.segments import segment_sizes

POSITIONS = ("consecutive", "original")

Sequence = namedtuple(
    "Sequence",
    ["token_ids", "mask", "positions", "block", "segments"],
    defaults=[None],
)
Sequence.__doc__ = """The vision part of a sequence.

Attributes:
    token_ids: Int32 tensor (B, S).
    mask: Bool tensor (B, S), False for padding, which is at the end.
    positions: Int32 tensor (B, S); or (B, S, 3), those in time, height and
        width.
    block: Int32 tensor (B, S): index of the image token or kept block that a
        placeholder stands for, where M image tokens come first; 0 at other
        tokens.
    segments: Int32 tensor (B, S): which sample of the row a token belongs to.
"""


def prune_sequence(
    token_ids,
    mask,
    placeholder_id,
    selection=None,
    positions="consecutive",
    *,
    num_image_tokens=None,
    image_room=0,
    segments=None,
    num_segments=1,
    image_id=None,
    places=None,
):
    """Take the placeholders of pruned blocks out of a sequence.

    Args:
        token_ids: Int tensor (B, S). Without `image_id` the first
            placeholders stand for the tokens of images, those after them for
            the blocks of the video.
        mask: Bool tensor (B, S), False for padding at the end.
        placeholder_id: Int.
        selection: `Selection` of the blocks that stay; `None` if all do.
        positions: `"consecutive"` (as the published preprocessor makes them)
            or `"original"` (those of the unpruned sequence).
        num_image_tokens: Optional int tensor (B,), how many placeholders
            stand for tokens of images.
        image_room: Int M. The most image tokens of a row; `block` counts the
            blocks of the video from M on.
        segments: Optional int tensor (B, S), for rows that several samples
            share: the number of each token's sample, from 0. The samples
            follow each other; padding has the number of the last one.
            Positions start anew in each sample.
        num_segments: Int. Most samples in a row, 1 without `segments`.
        image_id: Optional int. Id of the placeholder of an image's token, if
            it is not that of a block.
        places: Optional int tensor (B, S, 3), positions of tokens that they
            keep, whatever `positions` says.

    Returns:
        A `Sequence` of static length S - (T * P - K).

    Raises:
        ValueError: If `positions` is neither of these.
    """
    if positions not in POSITIONS:
        raise ValueError(
            '`positions` must be "consecutive" or "original". Received: '
            f"positions={positions!r}."
        )
    token_ids = ops.cast(token_ids, "int32")
    mask = ops.cast(mask, "bool")
    if num_image_tokens is not None:
        num_image_tokens = ops.cast(num_image_tokens, "int32")
    place = ops.arange(token_ids.shape[1], dtype="int32")[None]
    place = ops.broadcast_to(place, ops.shape(token_ids))
    packed = segments is not None
    segments = ops.cast(segments, "int32") if packed else ops.zeros_like(place)
    whole = (segments, mask)
    if image_id is not None:
        num_image_tokens = None
    if selection is not None:
        is_block = token_ids == placeholder_id
        stay = mask & _stays(is_block, selection, num_image_tokens)
        _, num_frames, num_blocks = selection.kept.shape
        removed = num_frames * num_blocks - selection.index.shape[1]
        order = places_of(stay, stay.shape[1] - removed)
        token_ids = pack_blocks(token_ids, order)
        mask = pack_blocks(stay, order)
        segments = pack_blocks(segments, order)
        if places is not None:
            places = pack_blocks(places, order)
        if positions == "original":
            place = order
        else:
            place = place[:, : order.shape[1]]
            whole = (segments, mask)
    if packed:
        sizes = segment_sizes(*whole, num_segments)
        place = places_in_segments(place, segments, sizes)
    is_block = mask & (token_ids == placeholder_id)
    block = ops.cumsum(ops.cast(is_block, "int32"), axis=1) - 1
    if num_image_tokens is not None:
        count = num_image_tokens[:, None]
        block = ops.where(block < count, block, block + image_room - count)
    if image_id is not None:
        is_image = mask & (token_ids == image_id)
        image = ops.cumsum(ops.cast(is_image, "int32"), axis=1) - 1
        block = ops.where(is_image, image, block + image_room)
        is_block = is_block | is_image
    # An index that exists, even without images and frames.
    block = ops.where(is_block, block, 0)
    place = place if places is None else ops.cast(places, "int32")
    return Sequence(token_ids, mask, place, block, segments)


def _stays(is_block, selection, num_image_tokens=None):
    """Bool (B, S): not a placeholder of a pruned block."""
    num_blocks = selection.kept.shape[1] * selection.kept.shape[2]
    kept = ops.reshape(selection.kept, (-1, num_blocks))
    which = ops.cumsum(ops.cast(is_block, "int32"), axis=1) - 1
    if num_image_tokens is not None:
        which = which - num_image_tokens[:, None]
        is_block = is_block & (which >= 0)
    which = ops.clip(which, 0, num_blocks - 1)
    return ops.logical_not(is_block) | pack_blocks(kept, which)


def vision_reach(sequence, vision_token_ids, num_segments=1):
    """Which tokens of the vision part attend to which.

    Attention is causal, but all vision tokens also see each other.

    Args:
        sequence: A `Sequence`.
        vision_token_ids: Ints; none if all attention is causal.
        num_segments: Int. Most samples in a row. Tokens of one sample do not
            see those of another.

    Returns:
        A `Reach` of (B, S) queries and (B, S) keys.
    """
    size = sequence.token_ids.shape[1]
    place = ops.arange(size, dtype="int32")[None]
    start, end = None, size
    if num_segments > 1:
        sizes = segment_sizes(sequence.segments, sequence.mask, num_segments)
        ends = ops.cumsum(sizes, axis=-1)
        start = pack_blocks(ends - sizes, sequence.segments)
        end = pack_blocks(ends, sequence.segments)
    count = ops.sum(ops.cast(sequence.mask, "int32"), axis=1, keepdims=True)
    causal = Reach(start=start, stop=ops.minimum(place + 1, count))
    if not vision_token_ids:
        return causal
    is_vision = sequence.token_ids == vision_token_ids[0]
    for token_id in vision_token_ids[1:]:
        is_vision = is_vision | (sequence.token_ids == token_id)
    is_vision = is_vision & sequence.mask
    return causal._replace(
        marked_start=start,
        marked_stop=ops.where(is_vision, end, 0),
        marked=is_vision,
    )
