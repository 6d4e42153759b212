import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputLayout:
    """What a backbone and its preprocessor must agree on.

    Args: those of `VideoVLMBackbone` and `VideoVLMPreprocessor`, and the two
        that are the video converter's: `num_frames` and `image_size`, (height,
        width) in pixels.
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
    def of_backbone(cls, backbone):
        """What a `VideoVLMBackbone` takes."""
        return cls._of(
            backbone,
            prompt_mask=backbone.language_pruning is not None,
            image_size=(backbone.image_size, backbone.image_size),
        )

    @classmethod
    def of_preprocessor(cls, preprocessor):
        """What a `VideoVLMPreprocessor` makes."""
        size = preprocessor.video_converter.image_size
        return cls._of(preprocessor, image_size=tuple(size))

    @classmethod
    def _of(cls, owner, **given):
        names = [field.name for field in dataclasses.fields(cls)]
        names = [name for name in names if name not in given]
        return cls(**{name: getattr(owner, name) for name in names}, **given)

    def preprocessor_arguments(self):
        """Dict of those that are the preprocessor's own."""
        arguments = dataclasses.asdict(self)
        del arguments["num_frames"], arguments["image_size"]
        return arguments

    def facts(self):
        """Dict of those that matter: crops and patches are of images."""
        facts = dataclasses.asdict(self)
        if not self.num_images:
            del facts["max_crops"], facts["patch_size"]
        return facts


def input_specs(layout, images, *, vision_length, text_length):
    """What a preprocessor makes of an example.

    Args:
        layout: An `InputLayout`.
        images: An `ImagePacker`.
        vision_length, text_length: Ints. Lengths of parts of a sequence.

    Returns:
        Dict of names to (shape, dtype).
    """
    size, frames = (*layout.image_size, 3), (layout.num_frames,)
    text, vision = (text_length,), (vision_length,)
    specs = {}
    if layout.num_frames:
        specs["videos"] = ((*frames, *size), "uint8")
        specs["frame_mask"] = (frames, "bool")
    if layout.num_images:
        specs["images"] = ((images.num_crops, *size), "uint8")
        specs["image_pooling"] = ((images.num_tokens, 4), "int32")
    specs["vision_token_ids"] = (vision, "int32")
    specs["vision_mask"] = (vision, "bool")
    specs["token_ids"] = (text, "int32")
    specs["padding_mask"] = (text, "bool")
    if layout.num_segments > 1:
        specs["vision_segments"] = (vision, "int32")
        specs["text_segments"] = (text, "int32")
        if layout.num_frames:
            specs["frame_segments"] = (frames, "int32")
    if layout.prompt_mask:
        specs["prompt_mask"] = (text, "bool")
    return specs


def check_agree(backbone, preprocessor):
    """Raise if a preprocessor makes other inputs than a backbone takes.

    Raises:
        ValueError: If the two differ, with both.
    """
    wanted = InputLayout.of_backbone(backbone).facts()
    given = InputLayout.of_preprocessor(preprocessor).facts()
    if wanted != given:
        raise ValueError(
            "Backbone and preprocessor must agree on "
            f"{', '.join(wanted)}. Received: {wanted} of the backbone, "
            f"{given} of the preprocessor and its video converter."
        )
