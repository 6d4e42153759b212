"""What a backbone knows of its parts."""

from keras_stts.ops import num_kept_blocks
from keras_stts.pruning import split


class Facts:
    """See `VideoVLMBackbone`."""

    @property
    def token_embedding(self):
        """The language model's; KerasHub's tools look for it here."""
        return self.language_model.token_embedding

    @property
    def transformer_layers(self):
        """The language model's decoder blocks."""
        return self.language_model.transformer_layers

    @property
    def image_size(self):
        """Side of the square frames in pixels."""
        return self.vision_encoder.image_size

    @property
    def patch_size(self):
        """Side of a patch in pixels."""
        return self.vision_encoder.patch_size

    @property
    def window(self):
        """Side of a block in patches."""
        return self.vision_encoder.window

    @property
    def hidden_dim(self):
        """Width of the language model."""
        return self.language_model.hidden_dim

    @property
    def num_layers(self):
        """Layers of the language model."""
        return self.language_model.num_layers

    @property
    def vocabulary_size(self):
        """Ids that can be put out."""
        return self.language_model.vocabulary_size

    @property
    def rematerialize(self):
        """Whether training computes the decoder's layers again."""
        return self.language_model.rematerialize

    @property
    def prune_ratio(self):
        """Share of the video that is pruned before the language model."""
        return self.pruning.ratio

    @property
    def num_blocks(self):
        """Blocks P of a frame."""
        rows, columns = self.grid
        return rows * columns

    @property
    def grid(self):
        """Rows and columns of the blocks of a frame."""
        return self.vision_encoder.block_grid

    @property
    def prunes_blocks(self):
        """Whether blocks leave before the language model."""
        prunes = self.pruning.prunes_blocks
        return bool(self.num_frames and self.prune_ratio and prunes)

    @property
    def num_kept_blocks(self):
        """Most blocks K that stay of the `num_frames` frames of a row."""
        return num_kept_blocks(
            self.num_blocks,
            self.num_frames,
            self.prune_ratio if self.pruning.prunes_blocks else 0.0,
            self.num_segments,
        )

    @property
    def num_image_tokens(self):
        """Tokens that the images of an example can have."""
        return self.input_layout.num_image_tokens

    @property
    def input_layout(self):
        """The `keras_stts.preprocessing.input_layout.InputLayout`."""
        return self.vision_encoder.input_layout(self)


class Unbuilt(Facts):
    """What is known of a backbone before it has weights.

    Args:
        arguments: Dict of the arguments of `VideoVLMBackbone`.
    """

    def __init__(self, arguments):
        for name, value in arguments.items():
            if name != "pruning":
                setattr(self, name, value)
        self.pruning, self.language_pruning = split(arguments["pruning"])
