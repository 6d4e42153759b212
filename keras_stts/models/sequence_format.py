import dataclasses

from keras import ops

from keras_stts.ops import pack_blocks
from keras_stts.ops.segments import segment_sizes
from keras_stts.ops.sequence import POSITIONS
from keras_stts.ops.sequence import prune_sequence
from keras_stts.ops.sequence import vision_reach


@dataclasses.dataclass(frozen=True)
class SequenceFormat:
    """What the tokens of a vision part stand for.

    Attributes:
        placeholder_id: Int. Id of the token that stands for a block, or for
            a token of an image.
        vision_token_ids: Ints. Tokens that see each other both ways.
        positions: `"consecutive"` or `"original"`, see
            `keras_stts.ops.sequence.prune_sequence`.
        image_room: Int. Tokens that images of an example can have.
        num_segments: Int. Most samples of a row.
        grid: Tuple of ints, rows and columns of the blocks of a frame.
    """

    placeholder_id: int
    vision_token_ids: tuple
    positions: str
    image_room: int
    num_segments: int
    grid: tuple

    def __post_init__(self):
        if self.positions not in POSITIONS:
            raise ValueError(
                '`positions` must be "consecutive" or "original". Received: '
                f"positions={self.positions!r}."
            )

    def vision_part(self, token_ids, mask, vision, segments=None):
        """Take the placeholders of pruned blocks out of a vision part.

        Args:
            token_ids: Int tensor (B, S).
            mask: Bool tensor (B, S), False for padding.
            vision: Dict of which `"selection"`, a `keras_stts.ops.Selection`,
                and `"num_image_tokens"`, an int tensor (B,), are used.
            segments: Optional int tensor (B, S): which of several samples
                that share a row a token belongs to.

        Returns:
            Tuple (sequence, length): the `keras_stts.ops.sequence.Sequence`,
            and the int32 tensor (B,), with `segments` (B, num_segments), of
            the position at which what follows begins.
        """
        sequence = prune_sequence(
            token_ids,
            mask,
            self.placeholder_id,
            vision.get("selection"),
            positions=self.positions,
            num_image_tokens=vision.get("num_image_tokens"),
            image_room=self.image_room,
            segments=segments,
            num_segments=self.num_segments,
        )
        original = self.positions == "original"
        whole = mask if original else sequence.mask
        if segments is None:
            return sequence, ops.sum(ops.cast(whole, "int32"), axis=-1)
        of_whole = segments if original else sequence.segments
        return sequence, segment_sizes(of_whole, whole, self.num_segments)

    def reach(self, sequence, *, packed=False):
        """Who sees whom: `keras_stts.ops.sequence.vision_reach`."""
        number = self.num_segments if packed else 1
        return vision_reach(sequence, self.vision_token_ids, number)

    def is_video(self, sequence):
        """Bool (B, S): whether a token is one of the video."""
        real = sequence.mask & (sequence.token_ids == self.placeholder_id)
        return real & (sequence.block >= self.image_room)

    def places(self, sequence, index=None):
        """Int (B, S): the place of each token of the video among its T * P.

        Args:
            sequence: A `Sequence`.
            index: Optional int tensor (B, K), the places of the kept blocks.
        """
        place = ops.maximum(sequence.block - self.image_room, 0)
        if index is not None:
            place = ops.minimum(place, index.shape[1] - 1)
            place = pack_blocks(index, place)
        return place
