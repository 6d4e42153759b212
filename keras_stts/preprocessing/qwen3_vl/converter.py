import dataclasses
import os

import keras
import keras_hub
import numpy as np

from keras_stts.data.bicubic import resize_bicubic
from keras_stts.data.sampled import ChosenFrames
from keras_stts.data.sampled import ResizedVideo
from keras_stts.data.sampled import SampledVideo
from keras_stts.data.sampled import UnreadVideo
from keras_stts.data.source import is_media
from keras_stts.data.video import choose
from keras_stts.data.video import sampled_shape
from keras_stts.preprocessing.examples import image_of
from keras_stts.preprocessing.qwen3_vl.patches import cut_patches
from keras_stts.preprocessing.qwen3_vl.patches import grid_of
from keras_stts.preprocessing.qwen3_vl.sampling import frame_indices
from keras_stts.preprocessing.qwen3_vl.sampling import known_fps
from keras_stts.preprocessing.qwen3_vl.sampling import patch_times
from keras_stts.preprocessing.qwen3_vl.sizes import VideoResizing
from keras_stts.preprocessing.qwen3_vl.sizes import image_size
from keras_stts.preprocessing.video_vlm_video_converter import check_frames
from keras_stts.presets.preset_mixin import PresetMixin

NAMES = (
    "min_pixels",
    "max_pixels",
    "image_min_pixels",
    "image_max_pixels",
    "max_fps",
    "num_frames",
    "max_frame_blocks",
    "patch_size",
    "temporal_patch_size",
    "merge_size",
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """An image or a video as patches.

    Attributes:
        patches: uint8 (t, h * w, values), see `cut_patches`; `None` of an
            `UnreadVideo`.
        grid: Three ints: t, h and w, in patches.
        times: Float64 (t,), seconds; `None` of an image.
    """

    patches: np.ndarray | None
    grid: tuple
    times: np.ndarray | None = None


@keras.saving.register_keras_serializable(package="keras_stts")
class Qwen3VLVideoConverter(PresetMixin, keras_hub.layers.VideoConverter):
    """Turns videos and images of any size into Qwen3-VL's patches.

    Args:
        min_pixels, max_pixels: Ints. Limits of the area of all frames of a
            video together, in pixels (the video processor's
            `size["shortest_edge"]` and `["longest_edge"]`).
        image_min_pixels, image_max_pixels: Ints. Those of an image.
        max_fps: Number. Frames a second to take (`fps`); but four at least,
            if a video has them.
        num_frames: Int. Most frames to take (`max_frames`).
        max_frame_blocks: Optional int. Most blocks of a frame, see
            `keras_stts.preprocessing.qwen3_vl.sizes.video_size`.
        patch_size: Int, pixels.
        temporal_patch_size: Int. Frames of a temporal patch.
        merge_size: Int. Side of a block, in patches.

    Call arguments:
        inputs: List of sources that `keras_stts.data.read_video` reads, of
            `SampledVideo`s, and of uint8 arrays (T, H, W, 3).
        fps: Optional number, or list with a number for each: frames per
            second of arrays and folders. Of arrays 24 are assumed, with a
            warning.

    Returns:
        List of `Seen`.

    Example:

    >>> converter = Qwen3VLVideoConverter(max_pixels=40_000)
    >>> converter([np.zeros((8, 60, 90, 3), "uint8")], fps=4.0)[0].grid
    (2, 4, 6)
    """

    def __init__(
        self,
        *,
        min_pixels=4096,
        max_pixels=25165824,
        image_min_pixels=65536,
        image_max_pixels=16777216,
        max_fps=2.0,
        num_frames=768,
        max_frame_blocks=None,
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        **kwargs,
    ):
        # KerasHub's converter builds a resizing layer that needs TensorFlow.
        super(keras_hub.layers.VideoConverter, self).__init__(**kwargs)
        if num_frames < 0 or not max_fps > 0:
            raise ValueError(
                "`num_frames` must not be negative (0: no videos), and "
                "`max_fps` positive. Received: "
                f"num_frames={num_frames}, max_fps={max_fps}."
            )
        self.min_pixels, self.max_pixels = min_pixels, max_pixels
        self.image_min_pixels = image_min_pixels
        self.image_max_pixels = image_max_pixels
        self.max_fps = max_fps
        self.num_frames = num_frames
        self.max_frame_blocks = max_frame_blocks
        self.patch_size = patch_size
        self.temporal_patch_size = temporal_patch_size
        self.merge_size = merge_size
        self.built = True

    @property
    def sampling(self):
        """The rule that chooses frames, see `keras_stts.data`."""
        return "qwen3_vl"

    @property
    def image_size(self):
        """The function of a frame and the number of frames that resizes."""
        return VideoResizing(
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            factor=self.patch_size * self.merge_size,
            temporal_size=self.temporal_patch_size,
            max_frame_blocks=self.max_frame_blocks,
        )

    def call(self, inputs, fps=None):
        videos = list(inputs)
        rates = [fps] * len(videos) if np.ndim(fps) == 0 else list(fps)
        if len(rates) != len(videos):
            raise ValueError(
                "`fps` must be a number, or one for each video. Received: "
                f"{len(videos)} videos, fps={fps}."
            )
        return [self._see_video(*pair) for pair in zip(videos, rates)]

    def see_image(self, image):
        """An image, as a path or uint8 array (H, W, 3), as `Seen`."""
        image = image_of(image)
        size = image_size(
            *image.shape[:2],
            min_pixels=self.image_min_pixels,
            max_pixels=self.image_max_pixels,
            factor=self.patch_size * self.merge_size,
        )
        frames = resize_bicubic(image[None], size)
        return self._seen(frames, frames.shape)

    def read(self, video, fps=None, size=None):
        """The chosen frames of a video.

        Args:
            video: One of the call arguments.
            fps: Optional number. See the call arguments.
            size: Optional, see `keras_stts.data.read_video`. Files are resized
                to it.

        Returns:
            `SampledVideo` (frames, times).
        """
        return self.choose(video, fps, size).read()

    def choose(self, video, fps=None, size=None):
        """The chosen frames of a video, which are read later.

        Args:
            video, fps: See the call arguments.
            size: Optional function, see `keras_stts.data.read_video`, that
                resizes them.

        Returns:
            `keras_stts.data.ChosenFrames`.
        """
        if isinstance(video, ChosenFrames):
            return video
        if isinstance(video, SampledVideo):
            frames, times = check_frames(video.frames), video.times
            if isinstance(video, ResizedVideo):
                video = ResizedVideo(frames, times, video.size)
            else:
                video = SampledVideo(frames, times)
            return ChosenFrames.of(video, size)
        if is_media(video) or isinstance(video, (str, os.PathLike)):
            return choose(
                video,
                self.num_frames,
                self.max_fps,
                self.sampling,
                size=size,
                fps=fps,
            )
        frames, rate = check_frames(video), known_fps(fps)
        chosen = frame_indices(
            len(frames),
            rate,
            max_fps=self.max_fps,
            min_frames=min(4, self.num_frames),
            max_frames=self.num_frames,
        )
        sampled = SampledVideo(frames[chosen], chosen / rate)
        return ChosenFrames.of(sampled, size)

    def video_shape(self, video, fps=None):
        """What a bucket must hold of a file: its first frame is decoded alone.

        Args:
            video: A source that `keras_stts.data.read_video` reads.
            fps: Optional number. See the call arguments.

        Returns:
            Tuple of ints: temporal patches, and blocks of each. See
            `keras_stts.preprocessing.buckets.choose_buckets`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a video, or is damaged or truncated.
        """
        rule = (self.num_frames, self.max_fps, self.sampling)
        shape = sampled_shape(video, *rule, size=self.image_size, fps=fps)
        return self.blocks_of(shape)

    def blocks_of(self, shape):
        """Temporal patches, and blocks of each.

        Args:
            shape: Ints (T, height, width), of frames in the size for all.
        """
        sizes = {"patch_size": self.patch_size}
        sizes["temporal_size"] = self.temporal_patch_size
        frames, rows, columns = grid_of(*shape, **sizes)
        return frames, rows * columns // self.merge_size**2

    def shown_of(self, timestamps, grid):
        """Grid in patches (t, h, w), and times (t,), of frames that were seen.

        Args:
            timestamps: Seconds of the frames.
            grid: Rows and columns of blocks.
        """
        times = patch_times(timestamps, temporal_size=self.temporal_patch_size)
        sides = (self.merge_size * number for number in grid)
        return (len(times), *sides), times

    def _see_video(self, video, fps):
        if isinstance(video, UnreadVideo):
            return self._seen(None, video.shape, video.times)
        frames, times = self.read(video, fps, self.image_size)
        return self._seen(frames, frames.shape, times)

    def _seen(self, frames, shape, times=None):
        """Frames, or what has such a shape, as `Seen`."""
        sizes = {"patch_size": self.patch_size}
        sizes["temporal_size"] = self.temporal_patch_size
        grid, patches = grid_of(*shape[:3], **sizes), None
        if frames is not None:
            patches = cut_patches(frames, merge_size=self.merge_size, **sizes)
            patches = patches.reshape(grid[0], -1, patches.shape[-1])
        if times is not None:
            times = patch_times(times, temporal_size=self.temporal_patch_size)
        return Seen(patches, grid, times)

    def get_config(self):
        config = super(keras_hub.layers.VideoConverter, self).get_config()
        return {**config, **{name: getattr(self, name) for name in NAMES}}
