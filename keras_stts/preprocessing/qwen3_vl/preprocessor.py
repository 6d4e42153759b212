import keras
import numpy as np

from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing.buckets import as_pairs
from keras_stts.preprocessing.buckets import find_bucket
from keras_stts.preprocessing.buckets import for_frames
from keras_stts.preprocessing.chat_preprocessor import ChatPreprocessor
from keras_stts.preprocessing.examples import as_batch
from keras_stts.preprocessing.input_layout import PatchLayout
from keras_stts.preprocessing.packed_rows import by_row
from keras_stts.preprocessing.packed_rows import segments
from keras_stts.preprocessing.padded_rows import without_padding
from keras_stts.preprocessing.qwen3_vl.converter import Qwen3VLVideoConverter
from keras_stts.preprocessing.qwen3_vl.prompt_tokenizer import CHAT_TEMPLATE
from keras_stts.preprocessing.qwen3_vl.prompt_tokenizer import (
    Qwen3VLPromptTokenizer,
)
from keras_stts.preprocessing.qwen3_vl.sample import Sample
from keras_stts.preprocessing.qwen3_vl.sample import as_list
from keras_stts.preprocessing.qwen3_vl.sample import bucket_of
from keras_stts.preprocessing.qwen3_vl.sample import check_counts
from keras_stts.preprocessing.qwen3_vl.sample import refuse_subtitles
from keras_stts.preprocessing.qwen3_vl.sample import stacked
from keras_stts.preprocessing.qwen3_vl.tokenizer import Qwen3VLTokenizer
from keras_stts.preprocessing.sample_weights import weighted

# Around a frame, and around a video or an image.
MARKS = 2


@keras.saving.register_keras_serializable(package="keras_stts")
class Qwen3VLPreprocessor(ChatPreprocessor):
    """Turns videos, images, prompts and responses into Qwen3-VL's inputs.

    Ids, patches and positions are those of transformers' `Qwen3VLProcessor`.
    A frame here is a temporal patch: two frames of a video. A batch is padded
    to the smallest bucket that holds each of its samples; a model is compiled
    once for each bucket that occurs.

    Args:
        tokenizer: A `Qwen3VLTokenizer`.
        video_converter: A `Qwen3VLVideoConverter`.
        buckets: Pairs (T, P): temporal patches, and blocks of the largest
            one. `keras_stts.preprocessing.buckets.choose_buckets` makes them
            of the sizes of a data set.
        sequence_length: Int. Length of the text part. Defaults to `256`.
        time_tokens: Int. Most tokens for the time of a frame, on average over
            the videos. Defaults to `10`, enough for a day.
        word_tokens: Int. Room for words, those of the template too, before
            and between images and videos of an example. Defaults to `64`.
        num_images: Int. Most images of a row. Defaults to `0`.
        num_image_blocks: Optional int. Most blocks of an image. Defaults to
            as many as the converter's `image_max_pixels` has.
        num_videos: Int. Most videos of an example, whose frames share T.
        chat_template: Str, a Jinja template; or a dict of several, of which
            `"default"` is used. See `keras_stts.preprocessing.chat`.
        num_segments: Int. Most samples in a row. Those of a row share its
            bucket, so have up to T temporal patches together, and each is run
            as if it were alone. `keras_stts.data.plan_rows` says which may
            share one. Defaults to `1`.
        prompt_mask: Bool. Whether the inputs say where prompts end, for
            models with `language_pruning`. Defaults to `False`.
        stop_token_ids: Optional ints. Tokens at which `generate` stops.
            Defaults to the tokenizer's end token.
        special_tokens: Optional dict of names such as `"bos_token"` to str,
            which a chat template may use. Defaults to the tokenizer's.

    Call arguments:
        x: Dict of `"prompts"`, and optionally `"videos"`, `"images"`, `"fps"`
            and `"responses"`, as `VideoVLMPreprocessor` takes them. An
            example may be without video (`None`), or have a list of videos
            (then `"fps"` may have a list for it, too). With `num_segments`
            an entry may be a list of the samples of a row, in each of these.

    Returns:
        Tuple (x, y, sample_weight) as of `VideoVLMPreprocessor`; without
        responses only x, a dict of
        - `"videos"`, uint8 (B, T, P * g, values), `"frame_mask"`, bool (B, T),
          and `"frame_grids"`, int32 (B, T, 2), rows and columns of blocks;
        - with `num_images`, `"images"`, uint8 (B, I, P' * g, values), and
          `"image_grids"`, int32 (B, I, 2), 0 of images that are missing;
        - `"vision_token_ids"`, `"vision_mask"` (B, S), `"vision_positions"`,
          int32 (B, S, 3): time, height, width;
        - `"token_ids"`, `"padding_mask"` (B, S');
        - with `num_segments`, `"frame_segments"` (B, T), `"vision_segments"`
          (B, S) and `"text_segments"` (B, S'): which sample of its row, from
          0, each belongs to; then positions begin anew in each.

    Raises:
        ValueError: If no bucket holds a sample, a text or image does not fit
            its part of the sequence, or lists differ in length.
    """

    backbone_cls = VideoVLMBackbone
    tokenizer_cls = Qwen3VLTokenizer
    video_converter_cls = Qwen3VLVideoConverter

    def __init__(
        self,
        tokenizer,
        video_converter,
        *,
        buckets,
        sequence_length=256,
        time_tokens=10,
        word_tokens=64,
        num_images=0,
        num_image_blocks=None,
        num_videos=1,
        chat_template=CHAT_TEMPLATE,
        num_segments=1,
        prompt_mask=False,
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
        self.buckets = as_pairs(buckets)
        self.time_tokens = time_tokens
        self.word_tokens = word_tokens
        self.num_images = num_images
        self._num_image_blocks = num_image_blocks
        self.num_videos = num_videos

    @property
    def input_layout(self):
        """The `PatchLayout` of what it makes."""
        return PatchLayout.of(self)

    @property
    def num_frames(self):
        """Most temporal patches of a row."""
        if not self.video_converter.num_frames:
            return 0
        return max(frames for frames, _ in self.buckets)

    @property
    def num_blocks(self):
        """Most blocks of a frame."""
        return max(blocks for _, blocks in self.buckets)

    @property
    def num_image_blocks(self):
        """Most blocks of an image."""
        if self._num_image_blocks is not None:
            return self._num_image_blocks
        converter = self.video_converter
        side = converter.patch_size * converter.merge_size
        return converter.image_max_pixels // side**2

    @property
    def block_patches(self):
        """Patches of a block."""
        return self.video_converter.merge_size**2

    @property
    def patch_values(self):
        """Values of a patch."""
        converter = self.video_converter
        return 3 * converter.temporal_patch_size * converter.patch_size**2

    @property
    def prompt_tokenizer(self):
        return Qwen3VLPromptTokenizer(
            tokenizer=self.tokenizer,
            chat_template=self.chat_template,
            special_tokens=self.special_tokens,
            merge_size=self.video_converter.merge_size,
        )

    @property
    def vision_length(self):
        """Length of the vision part in the largest bucket."""
        return max(self.vision_length_of(bucket) for bucket in self.buckets)

    def vision_length_of(self, bucket):
        """Length of the vision part of a sequence in a bucket (T, P)."""
        frames, blocks = bucket
        length = self.num_segments * self.word_tokens
        length += self.num_images * (self.num_image_blocks + MARKS)
        if self.num_frames:
            length += frames * (blocks + self.time_tokens + MARKS)
            length += self.num_segments * self.num_videos * MARKS
        return length

    def batch_specs(self, sequence_length=None):
        inputs, labels = super().batch_specs(sequence_length)
        if not self.num_frames:
            return inputs, labels
        many = len(self.buckets) > 1  # Then shapes of batches differ.
        for name in self.frame_sizes(1):
            shape, dtype = inputs[name]
            inputs[name] = ((None, *shape[1:]) if many else shape, dtype)
        (frames, _, values), dtype = inputs["videos"]
        number = None if many else self.num_blocks * self.block_patches
        inputs["videos"] = ((frames, number, values), dtype)
        return inputs, labels

    def frame_sizes(self, num_frames):
        """Dict of the inputs whose length depends on the number of frames."""
        length = self.vision_length_of((num_frames, self.num_blocks))
        names = ["vision_token_ids", "vision_mask", "vision_positions"]
        of_frames = ["videos", "frame_mask", "frame_grids"]
        if self.num_segments > 1:
            names.append("vision_segments")
            of_frames.append("frame_segments")
        sizes = dict.fromkeys(names, length)
        if self.num_frames:
            sizes |= dict.fromkeys(of_frames, num_frames)
        return sizes

    def shorten(self, inputs, num_frames):
        """Remove padding frames from a batch, see `VideoVLMPreprocessor`."""
        return without_padding(inputs, self.frame_sizes(num_frames), num_frames)

    def bucket_of(self, shape):
        """The bucket that a video alone is padded to.

        Args:
            shape: Ints (T, height, width), of its sampled and resized frames,
                as `keras_stts.data.sampled_shape` gives them.

        Returns:
            Tuple of ints, one of `buckets`.

        Raises:
            ValueError: If none holds it.
        """
        frames, blocks = self.video_converter.blocks_of(shape)
        return tuple(self.buckets[find_bucket((frames, blocks), self.buckets)])

    def preprocess(
        self,
        x,
        y=None,
        sample_weight=None,
        sequence_length=None,
        *,
        bucket=None,
    ):
        """Arrays of a dict of raw samples, see `Qwen3VLPreprocessor`.

        Args:
            bucket: Optional pair of ints, to which the batch is padded.
                Defaults to the smallest of `buckets` that holds it.
        """
        x, sizes, single = as_batch(
            x,
            self.num_frames,
            self.num_images,
            self.num_segments,
            needs_video=False,
        )
        refuse_subtitles(x.get("subtitles"))
        samples = self._see(x, single=single)
        rows = self.rows_of(sizes)
        shared = [Sample.joined(row) for row in by_row(samples, sizes)]
        bucket = bucket_of(shared, [bucket] if bucket else self.buckets)
        tokenizer = self.prompt_tokenizer
        shown = [each.shown() for each in samples]
        heads, tails = tokenizer(x["prompts"], shown)
        batch = self._vision_part(rows, shared, heads, bucket)
        batch |= self._places(rows, samples, heads, batch)
        length = sequence_length or self.sequence_length
        batch = self.with_text(batch, rows, tails, x.get("responses"), length)
        if single:
            batch = keras.tree.map_structure(lambda array: array[0], batch)
        return weighted(batch, y, sample_weight)

    def see_video(self, video, bucket=None):
        """Inputs of a `SampledVideo` without text, a batch of one."""
        samples = self._see({"prompts": ["?"], "videos": [video]}, single=False)
        return self._frames(samples, bucket or bucket_of(samples, self.buckets))

    def shown_of(self, timestamps, grid, subtitles=None):
        refuse_subtitles(subtitles)
        return [], [self.video_converter.shown_of(timestamps, grid)]

    def _frames(self, samples, bucket):
        """The frames of rows in a bucket."""
        frames, blocks = bucket
        size = blocks * self.block_patches
        return stacked(
            each.video_row(frames, size, self.patch_values) for each in samples
        )

    def config_for_frames(self, config):
        converter = config["video_converter"]
        most = -(-converter.num_frames // converter.temporal_patch_size)
        return {**config, "buckets": for_frames(config["buckets"], most)}

    def text_lengths(self, x):
        """Tokens that each sample's text takes.

        Args:
            x: Dict of `"prompts"`, one for each sample, and optionally
                `"responses"`.

        Returns:
            List of ints, of samples with a video each, if there are videos.
        """
        merge = self.video_converter.merge_size
        video = [((1, merge, merge), [0.0])] if self.num_frames else []
        prompts, tokenizer = list(x["prompts"]), self.prompt_tokenizer
        _, texts = tokenizer(prompts, [([], video)] * len(prompts))
        if "responses" in x:
            texts, _ = tokenizer.with_responses(texts, list(x["responses"]))
        return [len(ids) for ids in texts]

    def _see(self, x, *, single):
        number = len(x["prompts"])
        videos = [as_list(v) for v in x.get("videos", [None] * number)]
        images = x.get("images", [[]] * number)
        rates = x.get("fps")
        if single or not isinstance(rates, (list, tuple, np.ndarray)):
            rates = [rates] * number
        check_counts(
            {"videos": videos, "images": images},
            {"videos": self.num_videos, "images": self.num_images},
            rates,
        )
        return [
            Sample(
                videos=self.video_converter(*pair) if pair[0] else [],
                images=[self.video_converter.see_image(i) for i in pictures],
                merge_size=self.video_converter.merge_size,
            )
            for *pair, pictures in zip(videos, rates, images)
        ]

    def _vision_part(self, rows, samples, heads, bucket):
        """What rows are shown, each as one of `samples`, and its tokens."""
        frames, blocks = bucket if self.num_frames else (0, 0)
        length, seen = self.vision_length_of(bucket), {}
        if self.num_frames:
            seen |= self._frames(samples, bucket)
        if self.num_images:
            number = self.num_image_blocks * self.block_patches
            seen |= stacked(
                each.image_row(self.num_images, number, self.patch_values)
                for each in samples
            )
        tokens = rows.vision_part(
            heads,
            [each.num_blocks for each in samples],
            length=length,
            room=length - frames * blocks,
        )
        return {**tokens, **seen}

    def _places(self, rows, samples, heads, part):
        """Positions of the vision part, and which sample frames are of."""
        ids = {"image_token_id": self.tokenizer.image_pad_token_id}
        ids["video_token_id"] = self.tokenizer.video_pad_token_id
        placed = [
            sample.positions(head, **ids)
            for sample, head in zip(samples, heads)
        ]
        shape = (*part["vision_mask"].shape, 3)
        places = {"vision_positions": np.zeros(shape, "int32")}
        for row, parts in zip(
            places["vision_positions"], by_row(placed, rows.sizes)
        ):
            row[: sum(map(len, parts))] = np.concatenate(parts)
        if self.num_segments > 1 and self.num_frames:
            lengths = [len(each.frame_grids()) for each in samples]
            length = part["frame_mask"].shape[1]
            which = segments(lengths, rows.sizes, length)
            places["frame_segments"] = which
        return places

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "buckets": self.buckets,
                "time_tokens": self.time_tokens,
                "word_tokens": self.word_tokens,
                "num_images": self.num_images,
                "num_image_blocks": self._num_image_blocks,
                "num_videos": self.num_videos,
            }
        )
        return config
