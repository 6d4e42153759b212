"""What is seen of a sample, as rows of fixed size."""

import dataclasses

import numpy as np

from keras_stts.preprocessing.buckets import find_bucket
from keras_stts.preprocessing.qwen3_vl.positions import frame_grids
from keras_stts.preprocessing.qwen3_vl.positions import rope_positions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """The images and videos of an example.

    Attributes:
        images, videos: Lists of `converter.Seen`.
        merge_size: Int. Side of a block, in patches.
    """

    images: list
    videos: list
    merge_size: int

    @classmethod
    def joined(cls, samples):
        """One with the images and videos of several."""
        return cls(
            images=[image for each in samples for image in each.images],
            videos=[video for each in samples for video in each.videos],
            merge_size=samples[0].merge_size,
        )

    def shown(self):
        """What a prompt is told: grids of images; grids, times of videos."""
        images = [image.grid for image in self.images]
        return images, [(video.grid, video.times) for video in self.videos]

    def frame_grids(self):
        """Int (t, 2): rows and columns of blocks of all frames of videos."""
        grids = [video.grid for video in self.videos]
        return frame_grids(grids) // self.merge_size

    def image_grids(self):
        """Int (n, 2): rows and columns of blocks of each image."""
        grids = [image.grid for image in self.images]
        return frame_grids(grids) // self.merge_size

    @property
    def num_blocks(self):
        """Blocks of all videos."""
        return int(self.frame_grids().prod(axis=1).sum())

    def positions(self, token_ids, *, image_token_id, video_token_id):
        """Positions (s, 3) of the tokens of a vision part, from 0."""
        images, videos = self.shown()
        placed, _ = rope_positions(
            np.array([token_ids], "int64"),
            image_token_id=image_token_id,
            video_token_id=video_token_id,
            image_grids=images,
            video_grids=[grid for grid, _ in videos],
            merge_size=self.merge_size,
        )
        return placed[:, 0].T

    def video_row(self, num_frames, num_patches, values):
        """Patches of the videos as one row.

        Returns:
            Dict of `"videos"` (T, patches, values) unless one is unread,
            `"frame_mask"` (T,) and `"frame_grids"` (T, 2). Frames that are
            missing are black, of one block.
        """
        number = len(self.frame_grids())
        grids = np.ones((num_frames, 2), "int32")
        grids[:number] = self.frame_grids()
        row = {"frame_mask": np.arange(num_frames) < number}
        row["frame_grids"] = grids
        if any(video.patches is None for video in self.videos):
            return row
        frames = np.zeros((num_frames, num_patches, values), "uint8")
        place = 0
        for video in self.videos:
            number, size = video.patches.shape[:2]
            frames[place : place + number, :size] = video.patches
            place += number
        return {"videos": frames, **row}

    def image_row(self, num_images, num_patches, values):
        """Dict of `"images"` (I, patches, values) and `"image_grids"` (I, 2).

        Raises:
            ValueError: If there are more images, or one has more patches.
        """
        if len(self.images) > num_images:
            raise ValueError(
                "The images of a row must be up to `num_images` together. "
                f"Received: {len(self.images)} images, num_images="
                f"{num_images}. Put fewer samples in a row."
            )
        pixels = np.zeros((num_images, num_patches, values), "uint8")
        grids = np.zeros((num_images, 2), "int32")
        for i, image in enumerate(self.images):
            size = image.patches.shape[1]
            if size > num_patches:
                area = self.merge_size**2
                raise ValueError(
                    "An image must have up to `num_image_blocks` blocks. "
                    f"Received: {size // area} blocks, num_image_blocks="
                    f"{num_patches // area}. Lower `image_max_pixels`."
                )
            pixels[i, :size] = image.patches[0]
        grids[: len(self.images)] = self.image_grids()
        return {"images": pixels, "image_grids": grids}


def bucket_of(samples, buckets):
    """The smallest bucket (T, P) that holds each of these `Sample`s.

    Args:
        samples: List of what each row is shown.
        buckets: Pairs of ints.

    Raises:
        ValueError: If none does.
    """
    grids = [each.frame_grids() for each in samples]
    frames = max(map(len, grids))
    blocks = np.concatenate(grids).prod(axis=1).max(initial=1)
    try:
        return buckets[find_bucket((max(frames, 1), blocks), buckets)]
    except ValueError as error:
        if all(len(each.videos) < 2 for each in samples):
            raise
        raise ValueError(
            f"{error} The videos of a row share its temporal patches, see "
            "`keras_stts.data.plan_rows`."
        ) from None


def stacked(rows):
    """Dict of arrays with an entry for each row, of such dicts of rows."""
    rows = list(rows)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def check_counts(found, most, rates):
    """Raise if examples have more images or videos than they may.

    Args:
        found: Dict of `"videos"` and `"images"` to a list of lists, one for
            each example.
        most: Dict of the same names to ints.
        rates: List, frames a second of the videos of each example.

    Raises:
        ValueError: If an example has more, or rates are of other examples.
    """
    for name, lists in found.items():
        longest = max(map(len, lists))
        if longest > most[name]:
            raise ValueError(
                f"An example may have up to `num_{name}` {name}. Received: "
                f"{longest} {name}, num_{name}={most[name]}."
            )
    number = len(found["videos"])
    if len(rates) != number:
        raise ValueError(
            "`fps` must be a number, or one for each example. Received: "
            f"{len(rates)} for {number} examples."
        )


def refuse_subtitles(subtitles):
    """Raise if there are any."""
    if subtitles is not None:
        raise ValueError(
            'Qwen3-VL has no format for "subtitles". Write them into the '
            "prompts."
        )


def as_list(videos):
    """The videos of one example as a list."""
    if isinstance(videos, list):
        return videos
    return [] if videos is None else [videos]
