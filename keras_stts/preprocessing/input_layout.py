import dataclasses

import keras

from keras_stts.data.image import IMAGE_WINDOW
from keras_stts.data.image import largest_tiling


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputLayout:
    """What the inputs of a model are: what a preprocessor makes of examples
    and what a backbone takes.

    Args: those of `VideoVLMBackbone` and `VideoVLMPreprocessor`, and the two
        that are the video converter's: `num_frames` and `image_size`, (height,
        width) in pixels.

    Example:

    >>> model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    >>> layout = model.backbone.input_layout
    >>> layout == model.preprocessor.input_layout
    True
    >>> layout.specs(frames=16)["videos"]
    ((16, 48, 48, 3), 'uint8')
    """

    num_frames: int
    num_blocks: int
    num_segments: int
    num_images: int
    max_crops: int
    patch_size: int
    prompt_mask: bool
    image_size: tuple

    @classmethod
    def of(cls, owner, **given):
        """That of an object with attributes of these names, but for some."""
        names = [field.name for field in dataclasses.fields(cls)]
        names = [name for name in names if name not in given]
        return cls(**{name: getattr(owner, name) for name in names}, **given)

    @property
    def num_image_tokens(self):
        """Most tokens of the images of an example."""
        if not self.num_images:
            return 0
        tokens, _ = largest_tiling(
            self.image_size[0], self.patch_size, IMAGE_WINDOW, self.max_crops
        )
        return self.num_images * tokens

    def specs(self, *, frames=None, vision=None, text=None):
        """What an example becomes.

        Args:
            frames, vision, text: Optional ints: frames, and lengths of the
                parts of a sequence. `None` is any number.

        Returns:
            Dict of names to (shape, dtype).
        """
        size, frames = (*self.image_size, 3), (frames,)
        text, vision = (text,), (vision,)
        specs = {}
        if self.num_frames:
            specs["videos"] = ((*frames, *size), "uint8")
            specs["frame_mask"] = (frames, "bool")
        if self.num_images:
            crops = self.num_images * (self.max_crops + 1)
            specs["images"] = ((crops, *size), "uint8")
            shape = (self.num_image_tokens, IMAGE_WINDOW**2)
            specs["image_pooling"] = (shape, "int32")
        specs["vision_token_ids"] = (vision, "int32")
        specs["vision_mask"] = (vision, "bool")
        specs["token_ids"] = (text, "int32")
        specs["padding_mask"] = (text, "bool")
        if self.num_segments > 1:
            specs["vision_segments"] = (vision, "int32")
            specs["text_segments"] = (text, "int32")
            if self.num_frames:
                specs["frame_segments"] = (frames, "int32")
        if self.prompt_mask:
            specs["prompt_mask"] = (text, "bool")
        return specs

    def symbols(self):
        """Dict of names to `keras.Input`, of any number of rows."""
        return {
            name: keras.Input(shape, dtype=dtype, name=name)
            for name, (shape, dtype) in self.specs().items()
        }

    def preprocessor_arguments(self):
        """Dict of those that are the preprocessor's own."""
        arguments = dataclasses.asdict(self)
        del arguments["num_frames"], arguments["image_size"]
        return arguments

    def __eq__(self, other):
        if not isinstance(other, InputLayout):
            return NotImplemented
        return self.facts() == other.facts()

    def __hash__(self):
        return hash(tuple(self.facts().items()))

    def facts(self):
        """Dict of those that matter: crops and patches are of images."""
        facts = dataclasses.asdict(self)
        if not self.num_images:
            del facts["max_crops"], facts["patch_size"]
        return facts


def check_agree(backbone, preprocessor):
    """Raise if a preprocessor makes other inputs than a backbone takes.

    Raises:
        ValueError: If the two differ, with both.
    """
    wanted, given = backbone.input_layout, preprocessor.input_layout
    if wanted != given:
        facts = wanted.facts()
        raise ValueError(
            f"Backbone and preprocessor must agree on {', '.join(facts)}. "
            f"Received: {facts} of the backbone, {given.facts()} of the "
            "preprocessor and its video converter."
        )
