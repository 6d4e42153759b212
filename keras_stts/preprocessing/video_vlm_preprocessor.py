import math

import keras
import keras_hub
import numpy as np

from keras_stts.models.backbone_bounds import PREPROCESSOR_INTS
from keras_stts.models.backbone_bounds import is_int
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.preprocessing import chat
from keras_stts.preprocessing.chat import CHAT_TEMPLATE
from keras_stts.preprocessing.chat import IMAGE
from keras_stts.preprocessing.chat import VIDEO
from keras_stts.preprocessing.examples import ImagePacker
from keras_stts.preprocessing.examples import as_batch
from keras_stts.preprocessing.examples import check_text
from keras_stts.preprocessing.examples import subtitle_text
from keras_stts.preprocessing.input_checks import check_alone
from keras_stts.preprocessing.packed_rows import join
from keras_stts.preprocessing.packed_rows import join_videos
from keras_stts.preprocessing.packed_rows import segments
from keras_stts.preprocessing.sample_weights import weighted
from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.preprocessing.video_vlm_video_converter import (
    VideoVLMVideoConverter,
)
from keras_stts.presets.preset_mixin import PresetMixin


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMPreprocessor(PresetMixin, keras_hub.models.CausalLMPreprocessor):
    """Makes videos, images, prompts and responses into a model's inputs.

    The vision part of a sequence goes up to its last vision token: the start
    token and, as the template places them, images and the video. An image is
    its small view and its crops, a placeholder a token; of a video each frame
    has its time, `<frame_start>`, a placeholder a block and `<frame_end>`.
    The text part is the rest and the response. Both have a fixed length;
    nothing is ever cut to fit. The five switches named `use` are those of
    Molmo2's own processor.

    Args:
        tokenizer: A `keras_stts.VideoVLMTokenizer`.
        video_converter: A `keras_stts.VideoVLMVideoConverter`.
        num_blocks: Int P. Placeholders a frame.
        sequence_length: Int. Length of the text part. Defaults to `256`.
        time_tokens: Int. Room for the time of a frame, in tokens, on average
            over the video. Defaults to `8`, which holds hours.
        num_images: Int. Most images of an example. Defaults to `0`.
        max_crops: Int. Most crops of an image, beside its small view.
        patch_size: Int. Side of a patch of an image in pixels.
        chat_template: Str, Jinja, or several by their names, of which
            `"default"` is taken. See `keras_stts.preprocessing.chat`. Defaults
            to Qwen3's turns.
        num_segments: Int M. Samples that a row can hold. `num_frames` and
            `sequence_length` are for all of them. Defaults to `1`.
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
              optionally `"fps"`, frames a second of arrays, and
              `"subtitles"`, for each video a list of (start, end, text) in
              seconds, of which those near a sampled frame are shown;
            - `"images"` (if there may be any): for each example an image or a
              list of them, paths or uint8 arrays (H, W, 3);
            - `"responses"`, list of str, to train.

            A prompt is a str or a list of messages, see
            `keras_stts.preprocessing.chat`. A single prompt makes a single
            example.

            With `num_segments` an entry of each of these may be a list of up
            to M samples, that share a row, see `keras_stts.data.plan_rows`.

    Returns:
        Tuple (x, y, sample_weight), NumPy: the dict that `VideoVLMBackbone`
        takes, the next token ids (B, S') and their weights (B, S'), 1 at the
        response and the end token after it. Without responses only x.

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
        for name in ("add_start_token", "add_end_token"):
            kwargs.pop(name, None)
        if not is_int(sequence_length, *PREPROCESSOR_INTS["sequence_length"]):
            raise ValueError(
                "`sequence_length` must be a number of tokens, 1 at least. "
                f"Received: sequence_length={sequence_length!r}."
            )
        super().__init__(tokenizer, sequence_length, **kwargs)
        self.video_converter = video_converter
        self.num_blocks = num_blocks
        self.time_tokens = time_tokens
        self.num_images = num_images
        self.max_crops = max_crops
        self.patch_size = patch_size
        self.chat_template = chat.choose(chat_template)
        self.num_segments = num_segments
        self.prompt_mask = prompt_mask
        self.use_frame_special_tokens = use_frame_special_tokens
        self.video_use_col_tokens = video_use_col_tokens
        self.image_use_col_tokens = image_use_col_tokens
        self.use_single_crop_col_tokens = use_single_crop_col_tokens
        self.use_single_crop_start_token = use_single_crop_start_token
        self._stop_token_ids = stop_token_ids
        if special_tokens is None:
            special_tokens = _special_tokens(tokenizer)
        self.special_tokens = dict(special_tokens)
        self._template_lengths = {}
        # A model with an unbuilt layer is run uncompiled once by Keras.
        self.built = True

    @property
    def image_packer(self):
        """What makes images into inputs."""
        return ImagePacker(
            self.num_images,
            self.max_crops,
            self.video_converter.image_size[0],
            self.patch_size,
        )

    @property
    def num_frames(self):
        """Frames a video is sampled and padded to."""
        return self.video_converter.num_frames

    @property
    def stop_token_ids(self):
        """Tokens at which `generate` stops."""
        if self._stop_token_ids is None:
            return [self.tokenizer.end_token_id]
        return [int(i) for i in self._stop_token_ids]

    @property
    def vision_length(self):
        """Length of the vision part of a sequence."""
        return self._vision_length(self.num_frames)

    def _vision_length(self, num_frames):
        frame = self._frame_length + self.time_tokens
        shown = num_frames * frame + self.image_packer.length
        return self.num_segments + shown + self._template_length

    @property
    def _template_length(self):
        """Tokens that the template itself puts before images and the video."""
        counts = (self.num_images, int(self.num_frames > 0))
        key = (self.chat_template, *counts)
        if key not in self._template_lengths:
            text = chat.render(
                self.chat_template, "", *counts, self.special_tokens
            )
            pieces = chat.pieces(text.removeprefix(self.tokenizer.start_token))
            seen = [i for i, p in enumerate(pieces) if p in (IMAGE, VIDEO)]
            words = pieces[: max(seen, default=0)]
            words = [p for p in words if p not in (IMAGE, VIDEO)]
            length = sum(map(len, self._tokenize(words))) if words else 0
            self._template_lengths[key] = length
        return self._template_lengths[key]

    @property
    def _frame_length(self):
        """Tokens of a frame without those of its time."""
        columns = (
            math.isqrt(self.num_blocks) if self.video_use_col_tokens else 0
        )
        return self.num_blocks + columns + 2

    def batch_specs(self, sequence_length=None):
        """What this layer makes of an example.

        Args:
            sequence_length: Optional int.

        Returns:
            Tuple (inputs, labels) of dicts of names to (shape, dtype).
        """
        images = self.image_packer
        size = (*self.video_converter.image_size, 3)
        text = (sequence_length or self.sequence_length,)
        vision = (self.vision_length,)
        inputs = {}
        if self.num_frames:
            inputs["videos"] = ((self.num_frames, *size), "uint8")
            inputs["frame_mask"] = ((self.num_frames,), "bool")
        if images.num_images:
            inputs["images"] = ((images.num_crops, *size), "uint8")
            inputs["image_pooling"] = ((images.num_tokens, 4), "int32")
        inputs["vision_token_ids"] = (vision, "int32")
        inputs["vision_mask"] = (vision, "bool")
        inputs["token_ids"] = (text, "int32")
        inputs["padding_mask"] = (text, "bool")
        if self.num_segments > 1:
            inputs["vision_segments"] = (vision, "int32")
            inputs["text_segments"] = (text, "int32")
            if self.num_frames:
                inputs["frame_segments"] = ((self.num_frames,), "int32")
        if self.prompt_mask:
            inputs["prompt_mask"] = (text, "bool")
        return inputs, {"y": (text, "int32"), "weights": (text, "float32")}

    def frame_sizes(self, num_frames):
        """Dict of the inputs whose length follows from the number of frames."""
        length = self._vision_length(num_frames)
        sizes = {"videos": num_frames, "frame_mask": num_frames}
        sizes |= {"vision_token_ids": length, "vision_mask": length}
        if self.num_segments > 1:
            sizes |= {"frame_segments": num_frames, "vision_segments": length}
        return sizes

    def shorten(self, inputs, num_frames):
        """Leave padding frames out of a batch whose videos are short.

        Args:
            inputs: Dict of preprocessed inputs, as this layer makes it.
            num_frames: Int. Frames that a video is padded to instead.

        Returns:
            The dict, with shorter videos and vision part.

        Raises:
            ValueError: If a video, or its part of the sequence, is longer.
        """
        sizes = self.frame_sizes(num_frames)
        for name in ("frame_mask", "vision_mask"):
            if np.any(inputs[name][:, sizes[name] :]):
                longest = np.max(np.sum(inputs[name], axis=1))
                raise ValueError(
                    "Only padding can be left out of a batch. Received: "
                    f"num_frames={num_frames}, which leaves room for "
                    f"{sizes[name]} in `{name}`, of which {longest} are used."
                )
        cut = {name: inputs[name][:, :size] for name, size in sizes.items()}
        return {**inputs, **cut}

    def _call_python(self, x, y=None, sample_weight=None, sequence_length=None):
        x, sizes, single = as_batch(
            x, self.num_frames, self.num_images, self.num_segments
        )
        length = sequence_length or self.sequence_length
        vision, shown = self._vision_inputs(x, sizes)
        heads, tails = self._sequences(x["prompts"], shown)
        frames = np.sum(vision.get("frame_mask", [0] * len(sizes)), axis=-1)
        inputs = {**vision, **self._vision_part(heads, sizes, frames)}
        responses = x.get("responses")
        if responses is None:
            batch = {**inputs, **self._text_inputs(tails, sizes, length)}
        else:
            text, *rest = self._labelled_inputs(tails, responses, sizes, length)
            batch = ({**inputs, **text}, *rest)
        if single:
            batch = keras.tree.map_structure(lambda array: array[0], batch)
        return weighted(batch, y, sample_weight)

    def text_lengths(self, x):
        """Tokens that each sample's text takes, for `plan_rows`.

        Args:
            x: Dict of `"prompts"`, one a sample, and optionally
                `"responses"`.

        Returns:
            List of ints; subtitles are not counted.
        """
        shown = {VIDEO: [([], [])]} if self.num_frames else {}
        prompts = list(x["prompts"])
        _, texts = self._sequences(prompts, [shown] * len(prompts))
        if "responses" in x:
            texts, _ = self._with_responses(texts, list(x["responses"]))
        return [len(ids) for ids in texts]

    def _call_tf(self, x, y=None, sample_weight=None, sequence_length=None):
        from keras_stts.preprocessing.tf_data import call_in_graph

        batch = call_in_graph(self, x, sequence_length)
        return weighted(batch, y, sample_weight)

    def _generate_preprocess_python(self, x, sequence_length=None):
        outputs = self._call_python(
            _without_responses(x), sequence_length=sequence_length
        )
        check_alone(outputs)
        if outputs["padding_mask"][..., -1].any():
            raise ValueError(
                "A prompt must leave room for an answer. Received: a prompt "
                "that with its template fills all of "
                f"{outputs['padding_mask'].shape[-1]} tokens. Make "
                "`sequence_length` (or `max_length` of `generate`) larger."
            )
        return outputs

    def _generate_preprocess_tf(self, x, sequence_length=None):
        return self._call_tf(
            _without_responses(x), sequence_length=sequence_length
        )

    def _vision_inputs(self, x, sizes):
        """Arrays of videos and images, and the token ids of both.

        Returns:
            Tuple of a dict of arrays and a list, one dict a sample, of
            `"<|image|>"` and `"<|video|>"` to the ids of each of them.
        """
        arrays, shown = {}, [{} for _ in x["prompts"]]
        if self.num_frames:
            arrays = self.video_converter(x["videos"], fps=x.get("fps"))
            times = arrays.pop("timestamps")
            subtitles = x.get("subtitles") or [None] * len(times)
            for item, seconds, lines in zip(shown, times, subtitles):
                text = subtitle_text(lines, seconds)
                ids = self._video_ids(seconds)
                item[VIDEO] = [(ids, self._tokenize([text])[0])]
            if self.num_segments > 1:
                arrays = join_videos(arrays, sizes)
        if self.num_images:
            images, tiles = self.image_packer(x["images"])
            arrays |= images
            for item, grids in zip(shown, tiles):
                item[IMAGE] = [(self._image_ids(grid), []) for grid in grids]
        return arrays, shown

    def _video_ids(self, timestamps):
        """Each frame's time and placeholders."""
        tokenizer = self.tokenizer
        frame = self._frame_ids()
        texts = [
            f"{' ' if i else ''}{seconds:.1f} "
            for i, seconds in enumerate(timestamps)
        ]
        ids = []
        for marks in tokenizer.tokenize(texts):
            ids += [int(i) for i in marks] + frame
        room = self.num_frames * (self._frame_length + self.time_tokens)
        if len(ids) > room:
            raise ValueError(
                "The times of the frames need more tokens than `time_tokens` "
                f"leaves room for. Received: {len(texts)} frames up to second "
                f"{timestamps[-1]:.1f}, time_tokens={self.time_tokens}. Make "
                "`time_tokens` larger."
            )
        return ids

    def _frame_ids(self):
        """Placeholders of a frame, row by row."""
        tokenizer = self.tokenizer
        if not self.video_use_col_tokens:
            rows = [tokenizer.image_patch_token_id] * self.num_blocks
        else:
            side = math.isqrt(self.num_blocks)
            rows = self._rows_of_ids(side, side, True)
        if self.use_frame_special_tokens:
            start, end = "frame_start_token_id", "frame_end_token_id"
        else:
            start, end = "image_start_token_id", "image_end_token_id"
        return [getattr(tokenizer, start), *rows, getattr(tokenizer, end)]

    def _image_ids(self, grid):
        """Placeholders of the small view and of the crops, row by row."""
        tokenizer = self.tokenizer
        start = tokenizer.image_start_token_id
        if self.use_single_crop_start_token:
            start = tokenizer.low_res_image_start_token_id
        end = tokenizer.image_end_token_id
        columns = self.use_single_crop_col_tokens
        if columns is None:
            columns = self.image_use_col_tokens
        small = self._rows_of_ids(*grid[:2], ends=columns)
        large = self._rows_of_ids(*grid[2:], ends=self.image_use_col_tokens)
        return [
            *(start, *small, end),
            *(tokenizer.image_start_token_id, *large, end),
        ]

    def _rows_of_ids(self, rows, columns, ends):
        row = [self.tokenizer.image_patch_token_id] * columns
        row += [self.tokenizer.image_col_token_id] * ends
        return row * rows

    def _sequences(self, prompts, shown):
        """Token ids up to the last vision token, and those after it."""
        heads, tails = [], []
        for prompt, item in zip(prompts, shown):
            item = {name: list(found) for name, found in item.items()}
            counts = (len(item.get(name, ())) for name in (IMAGE, VIDEO))
            check_text(prompt)
            text = chat.render(
                self.chat_template,
                prompt,
                *counts,
                special_tokens=self.special_tokens,
            )
            # The start token is there once, whether a template has it or not.
            text = text.removeprefix(self.tokenizer.start_token)
            head, tail = [self.tokenizer.start_token_id], []
            for piece in chat.pieces(text):
                if piece in item:
                    vision, after = item[piece].pop(0)
                    head, tail = head + tail + vision, list(after)
                else:
                    tail = tail + self._tokenize([piece])[0]
            heads.append(head)
            tails.append(tail)
        return heads, tails

    def _vision_part(self, heads, sizes, frames):
        rows = join(heads, sizes)
        # What pruning may remove is no room for words: of a short video it
        # removes little.
        blocks = np.broadcast_to(frames * self.num_blocks, len(rows))
        longest = max(len(ids) - n for ids, n in zip(rows, blocks.tolist()))
        room = self.vision_length - self.num_frames * self.num_blocks
        if longest > room:
            raise ValueError(
                "Vision tokens, and words between them, must fit the vision "
                f"part of a sequence. Received: {longest} tokens beside the "
                f"blocks of a video, room for {room}. Put the words after "
                "images and video, or make `time_tokens` larger."
            )
        ids, mask = _pad(rows, self.vision_length, self._pad_id, "int32")
        part = {"vision_token_ids": ids, "vision_mask": mask}
        if self.num_segments > 1:
            lengths = [len(ids) for ids in heads]
            part["vision_segments"] = segments(
                lengths, sizes, self.vision_length
            )
        return part

    def _labelled_inputs(self, prompts, responses, sizes, length):
        """Inputs of the text part, the next tokens and their weights."""
        for response in responses:
            check_text(response)
        texts, weights = self._with_responses(prompts, responses)
        padded = self._text_inputs(texts, sizes, length + 1, prompts)
        inputs = {name: padded[name][:, :-1] for name in padded}
        weights, _ = _pad(join(weights, sizes), length + 1, 0, "float32")
        return inputs, padded["token_ids"][:, 1:], weights[:, 1:]

    def _with_responses(self, prompts, responses):
        """Join prompts and responses; weigh the response and its end.

        The first token of a text is nobody's next.
        """
        end = self.tokenizer.end_token_id
        answers = [ids + [end] for ids in self._tokenize(responses)]
        texts = [p + a for p, a in zip(prompts, answers)]
        weights = [
            [0] * len(p) + [1] * len(a) for p, a in zip(prompts, answers)
        ]
        for weight in weights:
            weight[0] = 0
        return texts, weights

    def _tokenize(self, texts):
        return [[int(i) for i in ids] for ids in self.tokenizer.tokenize(texts)]

    def _text_inputs(self, texts, sizes, length, prompts=None):
        rows = join(texts, sizes)
        longest = max(len(ids) for ids in rows)
        if longest > length:
            raise ValueError(
                "A prompt, with its template and response, must fit "
                "`sequence_length` tokens, and so must those of a row "
                f"together; they are never cut. Received: {longest} tokens, "
                f"room for {length}. Make `sequence_length` (or `max_length` "
                "of `generate`) larger."
            )
        ids, mask = _pad(rows, length, self._pad_id, "int32")
        inputs = {"token_ids": ids, "padding_mask": mask}
        if self.num_segments > 1:
            lengths = [len(ids) for ids in texts]
            inputs["text_segments"] = segments(lengths, sizes, length)
        if self.prompt_mask:
            ends = [len(ids) for ids in prompts or texts]
            inputs["prompt_mask"] = np.arange(length) < np.array(ends)[:, None]
        return inputs

    @property
    def _pad_id(self):
        return self.tokenizer.pad_token_id

    def generate_postprocess(self, x):
        """Token ids and padding mask of the text part to strings."""
        return self._generate_postprocess_python(
            {name: keras.ops.convert_to_numpy(x[name]) for name in x}
        )

    def get_config(self):
        config = super().get_config()
        config.pop("add_start_token")
        config.pop("add_end_token")
        config.update(
            {
                "num_blocks": self.num_blocks,
                "time_tokens": self.time_tokens,
                "num_images": self.num_images,
                "max_crops": self.max_crops,
                "patch_size": self.patch_size,
                "chat_template": self.chat_template,
                "num_segments": self.num_segments,
                "prompt_mask": self.prompt_mask,
                "use_frame_special_tokens": self.use_frame_special_tokens,
                "video_use_col_tokens": self.video_use_col_tokens,
                "image_use_col_tokens": self.image_use_col_tokens,
                "use_single_crop_col_tokens": self.use_single_crop_col_tokens,
                "use_single_crop_start_token": (
                    self.use_single_crop_start_token
                ),
                "stop_token_ids": self._stop_token_ids,
                "special_tokens": self.special_tokens,
            }
        )
        return config


def _special_tokens(tokenizer):
    """What a template is given beside the messages."""
    names = {"bos": "start", "eos": "end", "pad": "pad"}
    tokens = {
        f"{name}_token": getattr(tokenizer, f"{ours}_token")
        for name, ours in names.items()
    }
    return {**tokens, "image_token": IMAGE, "video_token": VIDEO}


def _without_responses(x):
    if not isinstance(x, dict):
        return x  # To be refused.
    return {name: x[name] for name in x if name != "responses"}


def _pad(rows, length, value, dtype):
    ids = np.full((len(rows), length), value, dtype)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask
