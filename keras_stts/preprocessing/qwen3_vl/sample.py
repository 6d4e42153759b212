"""What is seen of a sample, as rows of fixed size."""

import dataclasses

import numpy as np

from keras_stts.preprocessing.qwen3_vl.positions import frame_grids


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

    def video_row(self, num_frames, num_patches, values):
        """Patches of the videos as one row.

        Returns:
            Dict of `"videos"` (T, patches, values), `"frame_mask"` (T,) and
            `"frame_grids"` (T, 2). Frames that are missing are black, of one
            block.
        """
        frames = np.zeros((num_frames, num_patches, values), "uint8")
        grids = np.ones((num_frames, 2), "int32")
        place = 0
        for video in self.videos:
            number, size = video.patches.shape[:2]
            frames[place : place + number, :size] = video.patches
            place += number
        grids[:place] = self.frame_grids()
        mask = np.arange(num_frames) < place
        return {"videos": frames, "frame_mask": mask, "frame_grids": grids}

    def image_row(self, num_images, num_patches, values):
        """Dict of `"images"` (I, patches, values) and `"image_grids"` (I, 2).

        Raises:
            ValueError: If an image has more patches.
        """
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
