"""Raw examples of users: checks, subtitles and images."""

import numbers
import os

import numpy as np
import PIL.Image

from keras_stts.data.image import largest_tiling
from keras_stts.data.image import read_image
from keras_stts.data.image import tile_image
from keras_stts.data.source import is_media
from keras_stts.data.source import name_of
from keras_stts.data.text import is_whole
from keras_stts.preprocessing.chat import IMAGE
from keras_stts.preprocessing.chat import VIDEO
from keras_stts.preprocessing.packed_rows import take_rows_apart
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS

NAMES = ("videos", "images", "prompts", "responses", "fps", "subtitles")
# A subtitle is shown if it is within so many seconds of a sampled frame.
SUBTITLE_SECONDS = 1.0


def as_batch(x, num_frames, num_images, num_segments=1, *, needs_video=True):
    """A dict of lists with an entry for each sample.

    Args:
        x: What the user passed.
        num_frames, num_images: Ints, most of a sample; 0 allows none.
        num_segments: Int. Most samples of a row.
        needs_video: Bool. Whether each sample must have a video.

    Returns:
        Tuple of the dict, the number of samples in each row, and whether the
        input was a single example.

    Raises:
        ValueError: If names are missing, unknown or not for this model, or
            the lists differ in length.
    """
    needed = {"prompts"}
    if num_frames and needs_video:
        needed.add("videos")
    if not isinstance(x, dict) or not needed <= set(x):
        names = sorted(x) if isinstance(x, dict) else type(x).__name__
        wanted = " and ".join(f'"{name}"' for name in sorted(needed)[::-1])
        raise ValueError(
            f'The input must be a dict with {wanted}, and "responses" to '
            f"train. Received: {names}."
        )
    _check_names(x, num_frames, num_images)
    x = {name: x[name] for name in x if x[name] is not None}
    single = is_single(x["prompts"])
    x["prompts"] = [x["prompts"]] if single else list(x["prompts"])
    for name in ("videos", "images", "subtitles", "responses"):
        if single and name in x:
            x[name] = [x[name]]
    _check_sizes(x)
    x, sizes = take_rows_apart(x, num_segments)
    if num_images:
        missing = [None] * len(x["prompts"])
        x["images"] = [_as_images(i) for i in x.get("images", missing)]
    for name in {"prompts", "responses"} & set(x):
        x[name] = [_to_text(name, text) for text in x[name]]
    return x, sizes, single


def _check_names(x, num_frames, num_images):
    unknown = set(x) - set(NAMES)
    if unknown:
        raise ValueError(
            f"The input may hold {', '.join(NAMES)}. Received also: "
            f"{', '.join(sorted(unknown))}."
        )
    for name, number, argument in (
        ("videos", num_frames, "num_frames"),
        ("images", num_images, "num_images"),
    ):
        if not number and x.get(name) is not None:
            raise ValueError(
                f'A model with {argument}=0 takes no "{name}". Load it with '
                f"`from_preset(..., {argument}=...)`."
            )


def _check_sizes(x):
    videos = x.get("videos")
    if isinstance(videos, (str, os.PathLike)) or is_media(videos):
        raise ValueError(
            "A list of prompts needs a list of videos. Received: videos="
            f"{name_of(videos)!r} and {len(x['prompts'])} prompts."
        )
    names = ("videos", "images", "prompts", "responses", "subtitles")
    sizes = {name: len(x[name]) for name in names if name in x}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            "There must be as many videos as prompts and responses. "
            f"Received: {', '.join(f'{n} {k}' for k, n in sizes.items())}."
        )


def is_single(prompts):
    """Whether prompts are of one example: a str, or its messages."""
    if isinstance(prompts, np.ndarray):
        return prompts.ndim == 0
    if isinstance(prompts, (list, tuple)) and prompts:
        return isinstance(prompts[0], dict)  # The messages of one example.
    return isinstance(prompts, (str, bytes))


def _to_text(name, value):
    """Str, or messages as they are; an answer may be a number."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, np.ndarray):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode()
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = number and value == value  # NaN is not.
    if isinstance(value, str) or (number and name == "responses"):
        return str(value)
    rule = "a str or a conversation" if name == "prompts" else "a str"
    raise ValueError(
        f'Each of "{name}" must be {rule}. Received: {value!r:.200}.'
    )


def _as_images(images):
    """The images of one example as a list."""
    if images is None:
        return []
    if isinstance(images, (list, tuple)):
        return list(images)
    if isinstance(images, np.ndarray) and images.ndim != 3:
        return list(images)
    return [images]


def check_text(text, tokens=(*VISION_TOKENS.values(), IMAGE, VIDEO)):
    """Raise if a text, or any in a message, holds one of these tokens."""
    left, seen = [text], set()
    while left:
        part = left.pop()
        if isinstance(part, str):
            _check_words(part, tokens)
        elif isinstance(part, (dict, list, tuple)) and id(part) not in seen:
            seen.add(id(part))
            left += part.values() if isinstance(part, dict) else part


def _check_words(text, tokens):
    if not is_whole(text):
        raise ValueError(
            "Prompts and responses must not hold a lone surrogate. "
            f"Received: {text!r}. Write it again."
        )
    found = [token for token in tokens if token in text]
    if found:
        raise ValueError(
            "Prompts and responses must not hold vision tokens; those of "
            "images and frames are added to them. Received: "
            f"{found[0]} in {text!r}."
        )


def subtitle_text(lines, timestamps):
    """Subtitles near sampled frames, in the format of Molmo2's authors.

    Args:
        lines: List of (start, end, text), in seconds; or `None`.
        timestamps: Seconds of the sampled frames.

    Returns:
        Str, empty if there are no subtitles.
    """
    if not lines:
        return ""
    check_text([text for _, _, text in lines])
    times = np.asarray(timestamps)
    near = SUBTITLE_SECONDS
    shown = [
        f"{start:.1f} - {end:.1f} {text}\n"
        for start, end, text in lines
        if ((end >= times - near) & (start <= times + near)).any()
    ]
    return "subtitle\n" + "".join(shown)


class ImagePacker:
    """Turns the images of examples into arrays of fixed size.

    Args:
        layout: The `InputLayout` of these arrays.
    """

    def __init__(self, layout):
        self.num_images = layout.num_images
        self.max_crops = layout.max_crops
        self.image_size, _ = layout.image_size
        self.patch_size = layout.patch_size
        self.specs = layout.specs()

    def _largest(self):
        if not self.num_images:
            return 0, 0
        return largest_tiling(
            self.image_size, self.patch_size, max_crops=self.max_crops
        )

    @property
    def length(self):
        """Most tokens of images in the vision part of a sequence."""
        # One more for each row, and two around each of both views.
        tokens, rows = self._largest()
        return self.num_images * (tokens + rows + 4)

    def __call__(self, examples):
        """Cut images up.

        Args:
            examples: For each example a list of images: sources that
                `keras_stts.data.image.read_image` reads, or uint8 arrays
                (H, W, 3).

        Returns:
            Tuple of a dict of `"images"` (B, C, H, W, 3) and
            `"image_pooling"` (B, M, 4), and a list of the grids of each
            example's images, see `keras_stts.data.image.Tiles`.
        """
        images, pooling = (
            np.full((len(examples), *self.specs[name][0]), value, dtype)
            for name, value, dtype in (
                ("images", 0, "uint8"),
                ("image_pooling", -1, "int32"),
            )
        )
        patches = (self.image_size // self.patch_size) ** 2
        grids = []
        for row, example in enumerate(examples):
            if len(example) > self.num_images:
                raise ValueError(
                    "An example may have up to `num_images` images. Received: "
                    f"{len(example)} images, num_images={self.num_images}."
                )
            tiles = [self._tile(image) for image in example]
            grids.append([tile.grid for tile in tiles])
            crop = place = 0
            for tile in tiles:
                offset = crop * patches
                moved = tile.pooling + np.where(tile.pooling < 0, 0, offset)
                images[row, crop : crop + len(tile.crops)] = tile.crops
                pooling[row, place : place + len(moved)] = moved
                crop, place = crop + len(tile.crops), place + len(moved)
        return {"images": images, "image_pooling": pooling}, grids

    def _tile(self, image):
        image = image_of(image)
        return tile_image(
            image, self.image_size, self.patch_size, max_crops=self.max_crops
        )


def image_of(image):
    """A source, or an array, as uint8 (H, W, 3).

    Raises:
        ValueError: If it is neither.
    """
    is_path = isinstance(image, (str, os.PathLike))
    if is_path or is_media(image) or isinstance(image, PIL.Image.Image):
        image = read_image(image)
    image = np.asarray(image)
    good = image.ndim == 3 and image.shape[-1] == 3 and image.size
    if not good or image.dtype != np.uint8:
        raise ValueError(
            "An image must be a path or a uint8 array (height, width, 3). "
            f"Received: an array of shape {image.shape}, dtype {image.dtype}."
        )
    return image
