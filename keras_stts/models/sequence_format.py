import dataclasses

from keras import ops

from keras_stts.ops import pack_blocks
from keras_stts.ops.segments import next_positions
from keras_stts.ops.segments import segment_sizes
from keras_stts.ops.sequence import POSITIONS
from keras_stts.ops.sequence import prune_sequence
from keras_stts.ops.sequence import vision_reach


@dataclasses.dataclass(frozen=True)
class SequenceFormat:
    """What the tokens of a vision part mean.

    Attributes:
        placeholder_id: Int. Id of the token in whose place a block is shown,
            or a token of an image.
        vision_token_ids: Tuple of ints. Tokens that see each other both ways.
        positions: Str. `"consecutive"` or `"original"`, see
            `keras_stts.ops.sequence.prune_sequence`.
        image_room: Int. Most tokens of the images of an example.
        num_segments: Int. Most samples of a row.
        grid: Tuple of ints. Rows and columns of the blocks of a frame.
        image_id: Optional int. Id of the token in whose place a token of an
            image is shown, if that is not `placeholder_id`.
    """

    placeholder_id: int
    vision_token_ids: tuple
    positions: str
    image_room: int
    num_segments: int
    grid: tuple
    image_id: int | None = None

    def __post_init__(self):
        if self.positions not in POSITIONS:
            raise ValueError(
                '`positions` must be "consecutive" or "original". Received: '
                f"positions={self.positions!r}."
            )

    def vision_part(self, token_ids, mask, vision, segments=None, places=None):
        """Take the placeholders of pruned blocks out of a vision part.

        Args:
            token_ids: Int tensor (B, S).
            mask: Bool tensor (B, S), False for padding.
            vision: Dict. Its `"selection"`, a `keras_stts.ops.Selection`, and
                `"num_image_tokens"`, an int tensor (B,), are used if there.
            segments: Optional int tensor (B, S), the sample of its row that
                each token belongs to.
            places: Optional int tensor (B, S, 3), positions of the tokens in
                time, height and width. Tokens that stay keep theirs.

        Returns:
            Tuple (sequence, length): a `keras_stts.ops.sequence.Sequence`, and
            the position at which the text begins, an int32 tensor (B,), with
            `segments` (B, num_segments).
        """
        sequence = prune_sequence(
            token_ids,
            mask,
            self.placeholder_id,
            _of_real_blocks(vision),
            positions=self.positions,
            num_image_tokens=vision.get("num_image_tokens"),
            image_room=self.image_room,
            segments=segments,
            num_segments=self.num_segments,
            image_id=self.image_id,
            places=places,
        )
        if places is not None:
            return sequence, next_positions(
                places, mask, segments, self.num_segments
            )
        original = self.positions == "original"
        whole = mask if original else sequence.mask
        if segments is None:
            return sequence, ops.sum(ops.cast(whole, "int32"), axis=-1)
        of_whole = segments if original else sequence.segments
        return sequence, segment_sizes(of_whole, whole, self.num_segments)

    def reach(self, sequence, *, packed=False):
        """Which tokens see which: `keras_stts.ops.sequence.vision_reach`."""
        number = self.num_segments if packed else 1
        return vision_reach(sequence, self.vision_token_ids, number)

    def is_shown(self, sequence):
        """Bool (B, S): whether a token is a block or of an image."""
        shown = sequence.token_ids == self.placeholder_id
        if self.image_id is not None:
            shown = shown | (sequence.token_ids == self.image_id)
        return sequence.mask & shown

    def is_video(self, sequence):
        """Bool (B, S): whether a token is a block of the video."""
        real = sequence.mask & (sequence.token_ids == self.placeholder_id)
        return real & (sequence.block >= self.image_room)

    def places(self, sequence, index=None):
        """Int (B, S): which of the T * P blocks of the video each token is.

        Args:
            sequence: A `keras_stts.ops.sequence.Sequence`.
            index: Optional int tensor (B, K), the places of the kept blocks.
        """
        place = ops.maximum(sequence.block - self.image_room, 0)
        if index is not None:
            place = ops.minimum(place, index.shape[1] - 1)
            place = pack_blocks(index, place)
        return place


def _of_real_blocks(vision):
    """The selection, reordered so that the real blocks of all frames come
    before padding."""
    selection, order = vision.get("selection"), vision.get("order")
    if selection is None or order is None:
        return selection
    kept = ops.reshape(selection.kept, (-1, order.shape[1]))
    kept = ops.reshape(pack_blocks(kept, order), ops.shape(selection.kept))
    return selection._replace(kept=kept)
