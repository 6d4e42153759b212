import os

import keras
import keras_hub
import numpy as np

from keras_stts.data.resize import resize_frames
from keras_stts.data.sampled import ChosenFrames
from keras_stts.data.sampled import SampledVideo
from keras_stts.data.sampled import UnreadVideo
from keras_stts.data.sampling import RULES
from keras_stts.data.sampling import sample_indices
from keras_stts.data.source import is_media
from keras_stts.data.video import choose
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.presets.preset_mixin import PresetMixin


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMVideoConverter(PresetMixin, keras_hub.layers.VideoConverter):
    """Turns video files or arrays into a fixed number of frames of one size.

    Args:
        image_size: Int or (height, width). Frames are resized to it
            bilinearly, whatever their aspect ratio is.
        num_frames: Int. Most frames to sample from a video; a shorter video
            is padded with black frames.
        max_fps: Float. Most frames to sample from a second.
        sampling: Str, the rule that chooses frames, see
            `keras_stts.data.sample_indices`: such as `"molmo2_hf"` (as in
            transformers) or `"uniform_last_frame"` (the evaluation of
            Molmo2's authors).

    Call arguments:
        inputs: A batch: a list of sources that `keras_stts.data.read_video`
            reads (paths, addresses, bytes, file objects, rows of datasets),
            of `SampledVideo`s, and of uint8 arrays (T, H, W, 3); or one array
            (B, T, H, W, 3).
        fps: Optional number, or list with a number for each video: frames per
            second of arrays and folders of images. Defaults to `max_fps`.

    Returns:
        Dict of `"videos"`, uint8 (B, num_frames, height, width, 3);
        `"frame_mask"`, bool (B, num_frames); `"timestamps"`, a list of float
        arrays: the seconds of each video's real frames.

    Example:
    ```python
    converter = keras_stts.VideoVLMVideoConverter(image_size=28, num_frames=4)
    frames = np.zeros((3, 40, 60, 3), "uint8")
    converter([frames])["videos"].shape  # (1, 4, 28, 28, 3)
    ```
    """

    backbone_cls = VideoVLMBackbone

    def __init__(
        self,
        image_size,
        num_frames=64,
        max_fps=2.0,
        sampling="molmo2_hf",
        **kwargs,
    ):
        # KerasHub's converter builds a resizing layer that needs TensorFlow.
        super(keras_hub.layers.VideoConverter, self).__init__(**kwargs)
        if isinstance(image_size, int):
            image_size = (image_size, image_size)
        if num_frames < 0 or not max_fps > 0 or sampling not in RULES:
            raise ValueError(
                "`num_frames` must not be negative (0: no videos), `max_fps` "
                "must be positive, and `sampling` "
                f"one of {', '.join(RULES)}. Received: num_frames="
                f"{num_frames}, max_fps={max_fps}, sampling={sampling!r}."
            )
        self.image_size = tuple(image_size)
        self.num_frames = num_frames
        self.max_fps = max_fps
        self.sampling = sampling
        self.built = True

    def call(self, inputs, fps=None):
        videos = [] if _is_path(inputs) else list(inputs)
        rates = [fps] * len(videos) if np.ndim(fps) == 0 else list(fps)
        if not videos or len(rates) != len(videos):
            raise ValueError(
                "Videos must be a list of at least one, and `fps` a number "
                f"or one for each. Received: {len(videos)} videos in a "
                f"{type(inputs).__name__}, fps={fps}."
            )
        shape = (len(videos), self.num_frames, *self.image_size, 3)
        frames = np.zeros(shape, "uint8")
        mask = np.zeros(shape[:2], bool)
        timestamps = []
        for i, (video, rate) in enumerate(zip(videos, rates)):
            if isinstance(video, UnreadVideo):
                times = video.times
            else:
                taken, times = self.read(video, rate, self.image_size)
                frames[i, : len(taken)] = resize_frames(taken, self.image_size)
            mask[i, : len(times)] = True
            timestamps.append(times)
        return {
            "videos": frames,
            "frame_mask": mask,
            "timestamps": timestamps,
        }

    def read(self, video, fps=None, size=None):
        """Sample one video.

        Args:
            video, fps: See the call arguments.
            size: Optional int or (height, width). Frames of files are resized
                to it. Defaults to their own.

        Returns:
            `SampledVideo` (frames, times).
        """
        return self.choose(video, fps, size).read()

    def choose(self, video, fps=None, size=None):
        """Sample one video, whose frames are read later.

        Args:
            video, fps, size: See `read`.

        Returns:
            `keras_stts.data.ChosenFrames`.
        """
        if isinstance(video, ChosenFrames):
            return video
        if isinstance(video, SampledVideo):
            return ChosenFrames.of(self._check_sampled(video))
        if _is_path(video):
            return choose(
                video,
                self.num_frames,
                self.max_fps,
                self.sampling,
                size=size,
                fps=fps,
            )
        video = check_frames(video)
        fps = float(self.max_fps if fps is None else fps)
        index = sample_indices(
            len(video), fps, self.num_frames, self.max_fps, self.sampling
        )
        return ChosenFrames.of(SampledVideo(video[index], index / fps))

    def _check_sampled(self, video):
        count, times = len(check_frames(video.frames)), len(video.times)
        if not count == times <= self.num_frames:
            raise ValueError(
                "A sampled video must have a time for each frame, and "
                f"`num_frames` at most. Received: {count} frames, {times} "
                f"times, num_frames={self.num_frames}."
            )
        return video

    def get_config(self):
        config = super(keras_hub.layers.VideoConverter, self).get_config()
        config.update(
            {
                "image_size": self.image_size,
                "num_frames": self.num_frames,
                "max_fps": self.max_fps,
                "sampling": self.sampling,
            }
        )
        return config


def _is_path(value):
    return is_media(value) or isinstance(value, (str, os.PathLike))


def check_frames(video):
    """A video's frames as a uint8 array (T, H, W, 3).

    Raises:
        ValueError: If the array has another rank or dtype, no frame, or NaN or
            infinite pixels.
    """
    video = keras.ops.convert_to_numpy(video)
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(
            "A video must be a path or an array (frames, height, width, 3). "
            f"Received: an array of shape {video.shape}."
        )
    if not len(video):
        raise ValueError(
            "A video must have at least one frame. Received: an array of "
            f"shape {video.shape}."
        )
    floating = np.issubdtype(video.dtype, np.floating)
    if floating and not np.isfinite(video).all():
        raise ValueError(
            "The pixels of a video must be finite. Received: an array with "
            f"{np.count_nonzero(~np.isfinite(video))} NaN or infinite values."
        )
    if video.dtype != np.uint8:
        raise ValueError(
            "The pixels of a video must be uint8, 0 to 255. Received: dtype="
            f"{video.dtype}. Convert floats of [0, 1] with "
            '`(255 * video).round().astype("uint8")`.'
        )
    return video
