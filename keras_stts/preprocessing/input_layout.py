import dataclasses
import math
import typing

import keras
import numpy as np
from keras import ops

from keras_stts.data.image import IMAGE_WINDOW
from keras_stts.data.image import largest_tiling


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """What the inputs of a model are: what a preprocessor makes of examples
    and what a backbone takes.

    A subclass is a frozen dataclass of `num_frames`, `num_segments`,
    `prompt_mask` and what else decides on inputs.

    Attributes:
        needs_video: Bool. Whether each example has a video, if the model
            takes any.
        of_others: Tuple of str, the fields that are not arguments of a
            preprocessor, but of its parts or told by others.
        of_images: Tuple of str, the fields that do not matter without images.
    """

    needs_video = True
    # Blocks P of a frame, if known before the run.
    num_blocks_of_frames: typing.ClassVar = None
    of_others: typing.ClassVar = ()
    of_images: typing.ClassVar = ()

    num_frames: int
    num_blocks: int
    num_segments: int
    num_images: int
    prompt_mask: bool

    @classmethod
    def of(cls, owner, **given):
        """That of an object with attributes of these names, but for some."""
        names = [field.name for field in dataclasses.fields(cls)]
        names = [name for name in names if name not in given]
        return cls(**{name: getattr(owner, name) for name in names}, **given)

    def specs(self, *, frames=None, vision=None, text=None):
        """What an example becomes.

        Args:
            frames, vision, text: Optional ints: frames, and lengths of the
                parts of a sequence. `None` is any number.

        Returns:
            Dict of names to (shape, dtype).
        """
        frames, text, vision = (frames,), (text,), (vision,)
        specs = self.specs_of_pixels(frames)
        if self.num_frames:
            specs["frame_mask"] = (frames, "bool")
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

    def specs_of_pixels(self, frames):
        """Those of `specs` that hold videos and images."""
        raise NotImplementedError

    def blocks_of_frames(self, x):
        """Blocks of each frame of preprocessed inputs, (B, T) or an int."""
        return self.num_blocks

    def most_blocks(self, x):
        """Blocks of a frame of preprocessed inputs, padding included."""
        return self.num_blocks

    def grid_of(self, x, row):
        """Rows and columns of blocks of the video of a row of inputs."""
        raise NotImplementedError

    def are_image_tokens(self, x):
        """Which tokens of images in preprocessed inputs are real: bool (B, M).

        Raises:
            ValueError: If there are some after padding.
        """
        raise NotImplementedError

    def symbols(self):
        """Dict of names to `keras.Input`, of any number of rows."""
        return {
            name: keras.Input(shape, dtype=dtype, name=name)
            for name, (shape, dtype) in self.specs().items()
        }

    def preprocessor_arguments(self):
        """Dict of those that are the preprocessor's own."""
        arguments = dataclasses.asdict(self)
        return {n: arguments[n] for n in arguments if n not in self.of_others}

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return self.facts() == other.facts()

    def __hash__(self):
        return hash(tuple(self.facts().items()))

    def facts(self):
        """Dict of what must agree."""
        facts = dataclasses.asdict(self)
        left = () if self.num_images else self.of_images
        return {name: facts[name] for name in facts if name not in left}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PatchLayout(Layout):
    """Inputs whose frames, of any size, are given as patches (Qwen3-VL).

    Args: those of `VideoVLMBackbone`, and of its tower
        `keras_stts.towers.Qwen3VLVisionEncoder`.
    """

    needs_video = False
    of_others = ("num_frames", "num_blocks", "block_patches", "patch_values")
    of_images = ("num_image_blocks",)

    num_image_blocks: int
    block_patches: int
    patch_values: int

    @property
    def num_image_tokens(self):
        """Most tokens of the images of an example."""
        return self.num_images * self.num_image_blocks

    @property
    def num_image_patches(self):
        """Patches of all images of an example, padding included."""
        return self.num_image_tokens * self.block_patches

    def specs(self, *, frames=None, vision=None, text=None):
        specs = super().specs(frames=frames, vision=vision, text=text)
        return {**specs, "vision_positions": ((vision, 3), "int32")}

    def blocks_of_frames(self, x):
        grids = ops.convert_to_numpy(x["frame_grids"])
        _check_grids("frame_grids", grids, self.most_blocks(x))
        return grids.prod(-1)

    def grid_of(self, x, row):
        return tuple(int(n) for n in x["frame_grids"][row, 0])

    def most_blocks(self, x):
        number = x["videos"].shape[2]
        if number % self.block_patches or number > (
            self.num_blocks * self.block_patches
        ):
            raise ValueError(
                "Frames must be up to `num_blocks` blocks of "
                f"{self.block_patches} patches. Received: {number} patches, "
                f"num_blocks={self.num_blocks}."
            )
        return number // self.block_patches

    def are_image_tokens(self, x):
        grids = ops.convert_to_numpy(x["image_grids"])
        _check_grids("image_grids", grids, self.num_image_blocks)
        number = grids.prod(-1).sum(-1)
        return np.arange(self.num_image_tokens) < number[:, None]

    def specs_of_pixels(self, frames):
        specs, size = {}, self.block_patches
        if self.num_frames:
            # Of any number of blocks up to `num_blocks`.
            shape = (*frames, None, self.patch_values)
            specs["videos"] = (shape, "uint8")
            specs["frame_grids"] = ((*frames, 2), "int32")
        if self.num_images:
            number = self.num_image_blocks * size
            shape = (self.num_images, number, self.patch_values)
            specs["images"] = (shape, "uint8")
            specs["image_grids"] = ((self.num_images, 2), "int32")
        return specs


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class InputLayout(Layout):
    """Inputs whose frames are pictures of one size (Molmo2).

    Args: those of `VideoVLMBackbone` and `VideoVLMPreprocessor`, and the two
        that are the video converter's: `num_frames` and `image_size`, (height,
        width) in pixels.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    layout = model.backbone.input_layout
    layout == model.preprocessor.input_layout  # True
    layout.specs(frames=16)["videos"]  # ((16, 48, 48, 3), "uint8")
    ```
    """

    of_others = ("num_frames", "image_size")
    of_images = ("max_crops", "patch_size")

    @property
    def num_blocks_of_frames(self):
        return self.num_blocks

    def grid_of(self, x, row):
        side = math.isqrt(self.num_blocks)
        return side, self.num_blocks // side

    max_crops: int
    patch_size: int
    image_size: tuple

    @property
    def num_image_tokens(self):
        """Most tokens of the images of an example."""
        if not self.num_images:
            return 0
        tokens, _ = largest_tiling(
            self.image_size[0], self.patch_size, IMAGE_WINDOW, self.max_crops
        )
        return self.num_images * tokens

    @property
    def num_image_patches(self):
        """Patches of all crops of an example."""
        side = self.image_size[0] // self.patch_size
        return self.num_images * (self.max_crops + 1) * side**2

    def specs_of_pixels(self, frames):
        specs, size = {}, (*self.image_size, 3)
        if self.num_frames:
            specs["videos"] = ((*frames, *size), "uint8")
        if self.num_images:
            crops = self.num_images * (self.max_crops + 1)
            specs["images"] = ((crops, *size), "uint8")
            shape = (self.num_image_tokens, IMAGE_WINDOW**2)
            specs["image_pooling"] = (shape, "int32")
        return specs

    def are_image_tokens(self, x):
        tokens = (ops.convert_to_numpy(x["image_pooling"]) >= 0).any(-1)
        if (tokens[:, 1:] > tokens[:, :-1]).any():
            raise ValueError(
                "In `image_pooling` tokens without patches, padding, must "
                "come last. Received: some between others."
            )
        return tokens


def _check_grids(name, grids, most):
    """Raise unless these are rows and columns of at most so many blocks."""
    if grids.min(initial=0) < 0 or grids.prod(-1).max(initial=0) > most:
        raise ValueError(
            f"`{name}` must be rows and columns of at most {most} blocks, "
            "those that the vision encoder was made for. Received: "
            f"{np.unique(grids.reshape(-1, 2), axis=0).tolist()}. Make "
            "`num_blocks` or `num_image_blocks` larger, or pictures smaller."
        )


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
