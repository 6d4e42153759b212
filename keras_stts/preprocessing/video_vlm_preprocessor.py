import dataclasses

import keras
import numpy as np

from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.chat import CHAT_TEMPLATE
from keras_stts.preprocessing.chat import IMAGE
from keras_stts.preprocessing.chat import VIDEO
from keras_stts.preprocessing.chat_preprocessor import ChatPreprocessor
from keras_stts.preprocessing.examples import ImagePacker
from keras_stts.preprocessing.examples import as_batch
from keras_stts.preprocessing.examples import subtitle_text
from keras_stts.preprocessing.input_layout import InputLayout
from keras_stts.preprocessing.packed_rows import join_videos
from keras_stts.preprocessing.padded_rows import without_padding
from keras_stts.preprocessing.placeholders import Placeholders
from keras_stts.preprocessing.sample_weights import weighted
from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.preprocessing.video_vlm_video_converter import (
    VideoVLMVideoConverter,
)


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMPreprocessor(ChatPreprocessor):
    """Turns videos, images, prompts and responses into a model's inputs.

    A sequence has two parts. The vision part ends with the last vision token:
    it holds the start token and, where the template puts them, images and the
    video. An image is its small view and its crops, with a placeholder for
    each token. Each frame of a video is its time, `<frame_start>`, a
    placeholder for each block, and `<frame_end>`. The text part is the rest
    of the prompt and the response. Both parts have a fixed length; nothing is
    ever cut to fit. The five arguments with `use` in their names are those of
    Molmo2's own processor.

    Args:
        tokenizer: A `keras_stts.VideoVLMTokenizer`.
        video_converter: A `keras_stts.VideoVLMVideoConverter`.
        num_blocks: Int P. Placeholders per frame.
        sequence_length: Int. Length of the text part. Defaults to `256`.
        time_tokens: Int. Most tokens for the time of a frame, on average over
            the video. Defaults to `8`, enough for hours.
        num_images: Int. Most images of an example. Defaults to `0`.
        max_crops: Int. Most crops of an image, beside its small view.
        patch_size: Int. Side of a patch of an image in pixels.
        chat_template: Str, a Jinja template; or a dict of several, of which
            `"default"` is used. See `keras_stts.preprocessing.chat`. Defaults
            to Qwen3's format.
        num_segments: Int M. Most samples in a row, which share `num_frames`
            and `sequence_length`. Defaults to `1`.
        prompt_mask: Bool. Whether the inputs say where prompts end, for
            models with `language_pruning`. Defaults to `False`.
        use_frame_special_tokens: Bool. `False` puts `<im_start>` and
            `<im_end>` around frames, as around images. Defaults to `True`.
        video_use_col_tokens: Bool. Whether each row of a frame's placeholders
            ends with `<im_col>`. Defaults to `False`.
        image_use_col_tokens: Bool. The same for rows of crops. Defaults to
            `True`.
        use_single_crop_col_tokens: Optional bool. The same for rows of the
            small view. Defaults to `image_use_col_tokens`.
        use_single_crop_start_token: Bool. `False` begins the small view with
            `<im_start>`, not `<low_res_im_start>`. Defaults to `True`.
        stop_token_ids: Optional ints. Tokens at which `generate` stops.
            Defaults to the tokenizer's end token.
        special_tokens: Optional dict of names such as `"bos_token"` to str,
            which a chat template may use. Defaults to the tokenizer's.

    Call arguments:
        x: Dict of `"prompts"` and
            - `"videos"` (unless the converter's `num_frames` is 0): list of
              paths and uint8 arrays (T, H, W, 3), or an array (B, T, H, W, 3);
              optionally `"fps"`, frames per second of arrays, and
              `"subtitles"`, for each video a list of (start, end, text) in
              seconds, of which those near a sampled frame are shown;
            - `"images"` (with `num_images`): for each example an image or a
              list of images, as paths or uint8 arrays (H, W, 3);
            - `"responses"`, list of str, for training.

            A prompt is a str or a list of messages, see
            `keras_stts.preprocessing.chat`. A single prompt makes a single
            example.

            With `num_segments`, an entry of each list may be a list of up to
            M samples that share a row, see `keras_stts.data.plan_rows`.

    Returns:
        Tuple (x, y, sample_weight) of NumPy arrays: the dict that
        `VideoVLMBackbone` takes, the next token ids (B, S') and their weights
        (B, S'), 1 for the response and its end token. Without responses only
        x.

    Raises:
        ValueError: If videos and texts differ in number, or a text or image
            does not fit its part of the sequence.
    """

    backbone_cls = VideoVLMBackbone
    tokenizer_cls = VideoVLMTokenizer
    video_converter_cls = VideoVLMVideoConverter

    def __init__(
        self,
        tokenizer,
        video_converter,
        *,
        num_blocks=81,
        sequence_length=256,
        time_tokens=8,
        num_images=0,
        max_crops=8,
        patch_size=14,
        chat_template=CHAT_TEMPLATE,
        num_segments=1,
        prompt_mask=False,
        use_frame_special_tokens=True,
        video_use_col_tokens=False,
        image_use_col_tokens=True,
        use_single_crop_col_tokens=None,
        use_single_crop_start_token=True,
        stop_token_ids=None,
        special_tokens=None,
        **kwargs,
    ):
        super().__init__(
            tokenizer,
            sequence_length,
            chat_template=chat_template,
            num_segments=num_segments,
            prompt_mask=prompt_mask,
            stop_token_ids=stop_token_ids,
            special_tokens=special_tokens,
            **kwargs,
        )
        self.video_converter = video_converter
        self.num_blocks = num_blocks
        self.time_tokens = time_tokens
        self.num_images = num_images
        self.max_crops = max_crops
        self.patch_size = patch_size
        self.use_frame_special_tokens = use_frame_special_tokens
        self.video_use_col_tokens = video_use_col_tokens
        self.image_use_col_tokens = image_use_col_tokens
        self.use_single_crop_col_tokens = use_single_crop_col_tokens
        self.use_single_crop_start_token = use_single_crop_start_token
        self._words_before = (None, 0)  # Of what, and how many.

    @property
    def input_layout(self):
        """The `InputLayout` of what it makes."""
        return InputLayout.of(self, image_size=self.video_converter.image_size)

    @property
    def image_packer(self):
        """The object that turns images into inputs."""
        return ImagePacker(self.input_layout)

    @property
    def _placeholders(self):
        names = [field.name for field in dataclasses.fields(Placeholders)]
        return Placeholders(**{name: getattr(self, name) for name in names})

    @property
    def num_frames(self):
        """Number of frames that a video is sampled and padded to."""
        return self.video_converter.num_frames

    @property
    def vision_length(self):
        """Length of the vision part of a sequence."""
        return self._vision_length(self.num_frames)

    def _vision_length(self, num_frames):
        shown = num_frames * self._placeholders.frame_length
        shown += self.image_packer.length
        return self.num_segments + shown + self._num_words_before()

    def _num_words_before(self):
        """Tokens that the template itself puts before images and the video."""
        counts = (self.num_images, int(self.num_frames > 0))
        key = (self.chat_template, dict(self.special_tokens), counts)
        if self._words_before[0] != key:
            number = self.prompt_tokenizer.num_words_before(*counts)
            self._words_before = (key, number)
        return self._words_before[1]

    def frame_sizes(self, num_frames):
        """Dict of the inputs whose length depends on the number of frames."""
        length = self._vision_length(num_frames)
        sizes = {"videos": num_frames, "frame_mask": num_frames}
        sizes |= {"vision_token_ids": length, "vision_mask": length}
        if self.num_segments > 1:
            sizes |= {"frame_segments": num_frames, "vision_segments": length}
        return sizes

    def shorten(self, inputs, num_frames):
        """Remove padding frames from a batch of short videos.

        Args:
            inputs: Dict of preprocessed inputs of this layer.
            num_frames: Int. Frames that a video is padded to instead.

        Returns:
            The dict, with shorter videos and vision part.

        Raises:
            ValueError: If a video, or its part of the sequence, is longer.
        """
        return without_padding(inputs, self.frame_sizes(num_frames), num_frames)

    def preprocess(self, x, y=None, sample_weight=None, sequence_length=None):
        """Arrays of a dict of raw samples, see `VideoVLMPreprocessor`."""
        x, sizes, single = as_batch(
            x, self.num_frames, self.num_images, self.num_segments
        )
        length = sequence_length or self.sequence_length
        vision, shown = self._vision_inputs(x, sizes)
        tokenizer = self.prompt_tokenizer
        heads, tails = tokenizer(x["prompts"], shown)
        rows = self.rows_of(sizes)
        frames = np.sum(vision.get("frame_mask", [0] * len(sizes)), axis=-1)
        most = self.num_frames * self.num_blocks
        inputs = rows.vision_part(
            heads,
            frames * self.num_blocks,
            length=self.vision_length,
            room=self.vision_length - most,
        )
        batch = self.with_text(
            {**vision, **inputs}, rows, tails, x.get("responses"), length
        )
        if single:
            batch = keras.tree.map_structure(lambda array: array[0], batch)
        return weighted(batch, y, sample_weight)

    def see_video(self, video, bucket=None):
        """Inputs of a `SampledVideo` without text, a batch of one.

        Args:
            bucket: Optional ints (T, P), frames to pad to and their blocks.
        """
        converted = self.video_converter([video])
        frames = bucket[0] if bucket else self.num_frames
        names = ("videos", "frame_mask")
        return {name: converted[name][:, :frames] for name in names}

    def bucket_of(self, shape):
        """Frames and blocks (T, P) that a video alone is padded to.

        Args:
            shape: Ints (T, height, width), of its frames.
        """
        return self.num_frames, self.num_blocks

    def shown_of(self, timestamps, grid, subtitles=None):
        ids = self._placeholders.video(timestamps, len(timestamps))
        text = subtitle_text(subtitles, timestamps)
        return {VIDEO: [(ids, self.prompt_tokenizer.tokenize([text])[0])]}

    def text_lengths(self, x):
        """Tokens that each sample's text takes, for `plan_rows`.

        Args:
            x: Dict of `"prompts"`, one for each sample, and optionally
                `"responses"`.

        Returns:
            List of ints, without subtitles.
        """
        shown = {VIDEO: [([], [])]} if self.num_frames else {}
        prompts = list(x["prompts"])
        tokenizer = self.prompt_tokenizer
        _, texts = tokenizer(prompts, [shown] * len(prompts))
        if "responses" in x:
            texts, _ = tokenizer.with_responses(texts, list(x["responses"]))
        return [len(ids) for ids in texts]

    def _vision_inputs(self, x, sizes):
        """Arrays of videos and images, and their token ids.

        Returns:
            Tuple of a dict of arrays, and a list with a dict for each sample
            of `"<|image|>"` and `"<|video|>"` to the ids of each of them.
        """
        placeholders = self._placeholders
        tokenize = self.prompt_tokenizer.tokenize
        arrays, shown = {}, [{} for _ in x["prompts"]]
        if self.num_frames:
            arrays = self.video_converter(x["videos"], fps=x.get("fps"))
            times = arrays.pop("timestamps")
            subtitles = x.get("subtitles") or [None] * len(times)
            for item, seconds, lines in zip(shown, times, subtitles):
                text = subtitle_text(lines, seconds)
                ids = placeholders.video(seconds, self.num_frames)
                item[VIDEO] = [(ids, tokenize([text])[0])]
            if self.num_segments > 1:
                arrays = join_videos(arrays, sizes)
        if self.num_images:
            images, tiles = self.image_packer(x["images"])
            arrays |= images
            for item, grids in zip(shown, tiles):
                item[IMAGE] = [(placeholders.image(g), []) for g in grids]
        return arrays, shown

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_blocks": self.num_blocks,
                "time_tokens": self.time_tokens,
                "num_images": self.num_images,
                "max_crops": self.max_crops,
                "patch_size": self.patch_size,
                "use_frame_special_tokens": self.use_frame_special_tokens,
                "video_use_col_tokens": self.video_use_col_tokens,
                "image_use_col_tokens": self.image_use_col_tokens,
                "use_single_crop_col_tokens": self.use_single_crop_col_tokens,
                "use_single_crop_start_token": (
                    self.use_single_crop_start_token
                ),
            }
        )
        return config
