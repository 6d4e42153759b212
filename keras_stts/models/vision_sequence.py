import keras
from keras import ops

from keras_stts.ops import pack_blocks
from keras_stts.ops.reach import as_dict
from keras_stts.ops.reach import reach_spec
from keras_stts.ops.segments import places_in_segments
from keras_stts.ops.segments import segment_sizes
from keras_stts.ops.sequence import Sequence
from keras_stts.ops.sequence import prune_sequence
from keras_stts.ops.sequence import vision_reach


@keras.saving.register_keras_serializable(package="keras_stts")
class VisionSequence(keras.layers.Layer):
    """Takes pruned placeholders out of the vision part of a sequence.

    Args:
        placeholder_id: Int. Id of the token that stands for a block.
        vision_token_ids: Ints. Tokens that see each other both ways.
        positions: `"consecutive"` or `"original"`.
        image_room: Int. Tokens that images of an example can have.
        num_segments: Int. Most samples of a row, if `segments` are given.

    Call arguments:
        inputs: Int tensor (B, S), token ids.
        padding_mask: Bool tensor (B, S).
        selection: Optional `keras_stts.ops.Selection`.
        num_image_tokens: Optional int tensor (B,), tokens of images.
        segments: Optional int tensor (B, S): which of several samples that
            share a row a token belongs to.

    Returns:
        Tuple (sequence, reach, length): the `keras_stts.ops.Sequence`, the
        dict of the
        `keras_stts.ops.Reach` of its tokens, and the int32 tensor (B,), with
        `segments` (B, num_segments), of the position at which what follows
        begins.
    """

    def __init__(
        self,
        placeholder_id,
        vision_token_ids,
        positions="consecutive",
        image_room=0,
        num_segments=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if positions not in ("consecutive", "original"):
            raise ValueError(
                '`positions` must be "consecutive" or "original". Received: '
                f"positions={positions!r}."
            )
        self.placeholder_id = placeholder_id
        self.vision_token_ids = tuple(vision_token_ids)
        self.positions = positions
        self.image_room = image_room
        self.num_segments = num_segments

    def call(
        self,
        inputs,
        padding_mask,
        selection=None,
        num_image_tokens=None,
        segments=None,
    ):
        sequence = prune_sequence(
            inputs,
            padding_mask,
            self.placeholder_id,
            selection,
            self.positions,
            num_image_tokens,
            self.image_room,
            segments,
            self.num_segments,
        )
        packed = segments is not None
        reach = vision_reach(
            sequence,
            self.vision_token_ids,
            self.num_segments if packed else 1,
        )
        original = self.positions == "original"
        whole = padding_mask if original else sequence.mask
        if packed:
            of_whole = segments if original else sequence.segments
            length = segment_sizes(of_whole, whole, self.num_segments)
        else:
            length = ops.sum(ops.cast(whole, "int32"), axis=-1)
        return sequence, as_dict(reach), length

    def compute_output_spec(
        self,
        inputs,
        padding_mask,
        selection=None,
        num_image_tokens=None,
        segments=None,
    ):
        batch, length = inputs.shape
        if selection is not None:
            length = None  # It depends on the number of frames.
        sequence = (
            keras.KerasTensor((batch, length), dtype=dtype)
            for dtype in ("int32", "bool", "int32", "int32", "int32")
        )
        lengths = () if segments is None else (self.num_segments,)
        return (
            Sequence(*sequence),
            reach_spec(batch, length, segments is not None),
            keras.KerasTensor((batch, *lengths), dtype="int32"),
        )

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "placeholder_id": self.placeholder_id,
                "vision_token_ids": self.vision_token_ids,
                "positions": self.positions,
                "image_room": self.image_room,
                "num_segments": self.num_segments,
            }
        )
        return config


@keras.saving.register_keras_serializable(package="keras_stts")
class TextSequence(keras.layers.Layer):
    """Positions and causal mask of texts that follow a prefix.

    Call arguments:
        inputs: Int tensor (B * R, S), R texts a prefix, those of one prefix
            side by side.
        start: Int32 tensor (B,), the position at which a text begins.
        index: Optional int scalar tensor, where in a longer text the tokens
            stand. Defaults to its beginning.
        length: Optional int, of that longer text. Defaults to S.

    Returns:
        Tuple (positions, mask): int32 tensor (B * R, S) and bool tensor
        (1, 1, S, length).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # For models of packed rows, too.

    def call(self, inputs, start, index=0, length=None):
        place = ops.arange(inputs.shape[1], dtype="int32") + index
        keys = ops.arange(length or inputs.shape[1], dtype="int32")
        mask = (keys[None, :] <= place[:, None])[None, None]
        texts = ops.zeros_like(inputs[:, :1], dtype="int32")
        texts = ops.reshape(texts, (ops.shape(start)[0], -1))
        start = ops.reshape(texts + start[:, None], (-1, 1))
        return start + place[None], mask

    def compute_output_spec(self, inputs, start, index=0, length=None):
        size = inputs.shape[1]
        return (
            keras.KerasTensor(inputs.shape, dtype="int32"),
            keras.KerasTensor((1, 1, size, length or size), dtype="bool"),
        )


@keras.saving.register_keras_serializable(package="keras_stts")
class PackedTextSequence(keras.layers.Layer):
    """Positions and masks of texts that share a row, each after its prefix.

    Call arguments:
        inputs: Int tensor (B, S).
        start: Int32 tensor (B, M), the position at which the text of each
            sample begins.
        segments: Int tensor (B, S), which sample a token is of.
        prefix_segments: Int tensor (B, S1), and a token of the prefixes.
        prefix_mask: Bool tensor (B, S1), which of these are real.

    Returns:
        Tuple (positions, mask, prefix mask): int32 tensor (B, S), and bool
        tensors (B, 1, S, S) and (B, S, S1).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # For models of one sample a row, too.

    def call(self, inputs, start, segments, prefix_segments, prefix_mask):
        segments = ops.cast(segments, "int32")
        place = ops.arange(inputs.shape[1], dtype="int32")
        every = ops.ones_like(segments, dtype="bool")
        sizes = segment_sizes(segments, every, start.shape[1])
        positions = places_in_segments(place[None], segments, sizes)
        positions = positions + pack_blocks(start, segments)
        same = segments[:, :, None] == segments[:, None, :]
        mask = same & (place[None, :] <= place[:, None])
        same = segments[:, :, None] == prefix_segments[:, None, :]
        return positions, mask[:, None], same & prefix_mask[:, None, :]

    def compute_output_spec(
        self, inputs, start, segments, prefix_segments, prefix_mask
    ):
        batch, size = inputs.shape
        return (
            keras.KerasTensor((batch, size), dtype="int32"),
            keras.KerasTensor((batch, 1, size, size), dtype="bool"),
            keras.KerasTensor(
                (batch, size, prefix_mask.shape[1]), dtype="bool"
            ),
        )


@keras.saving.register_keras_serializable(package="keras_stts")
class AddVision(keras.layers.Layer):
    """Adds what images and frames show to the placeholders' embeddings.

    Args:
        placeholder_id: Int.

    Call arguments:
        inputs: Tensor (B, S, D), embeddings of the tokens.
        vision: Tensor (B, M + K, D), tokens of images and kept blocks.
        sequence: The `keras_stts.ops.Sequence` of the tokens.

    Returns:
        Tensor (B, S, D).
    """

    def __init__(self, placeholder_id, **kwargs):
        super().__init__(**kwargs)
        self.placeholder_id = placeholder_id
        self.built = True  # For models that are shown nothing, too.

    def call(self, inputs, vision, sequence):
        sequence = Sequence(*sequence)
        at_tokens = pack_blocks(vision, sequence.block)
        is_block = sequence.mask & (sequence.token_ids == self.placeholder_id)
        is_block = ops.cast(is_block, inputs.dtype)
        return inputs + at_tokens * ops.expand_dims(is_block, -1)

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config["placeholder_id"] = self.placeholder_id
        return config


@keras.saving.register_keras_serializable(package="keras_stts")
class GatherPatches(keras.layers.Layer):
    """Takes the patches that each token of an image pools.

    Call arguments:
        inputs: Tensor (B, N, F), features of all patches of all crops.
        pooling: Int tensor (B, M, g), patches of a token, -1 where there is
            none; a token without patches is padding, which comes last.

    Returns:
        Tuple (patches, mask, count): tensor (B, M, g, F), bool tensor
        (B, M, g) with at least one True a token, and int32 tensor (B,), the
        number of tokens that are no padding.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # For models without images, too.

    def call(self, inputs, pooling):
        _, num_tokens, size = pooling.shape
        index = ops.reshape(pooling, (-1, num_tokens * size))
        patches = pack_blocks(inputs, ops.maximum(index, 0))
        patches = ops.reshape(patches, (-1, num_tokens, size, inputs.shape[-1]))
        mask = pooling >= 0
        real = ops.any(mask, axis=-1)
        count = ops.sum(ops.cast(real, "int32"), axis=-1)
        mask = mask | ops.logical_not(real)[..., None]
        return patches, mask, count

    def compute_output_spec(self, inputs, pooling):
        return (
            keras.KerasTensor(
                (*pooling.shape, inputs.shape[-1]), dtype=self.compute_dtype
            ),
            keras.KerasTensor(pooling.shape, dtype="bool"),
            keras.KerasTensor(pooling.shape[:1], dtype="int32"),
        )
