import keras
import keras_hub

from keras_stts._hub_compat import PreprocessorHooks
from keras_stts.models.backbone_bounds import PREPROCESSOR_INTS
from keras_stts.models.backbone_bounds import is_int
from keras_stts.preprocessing import chat
from keras_stts.preprocessing.encoded_video import are_encoded
from keras_stts.preprocessing.encoded_video import check_questions
from keras_stts.preprocessing.encoded_video import joined
from keras_stts.preprocessing.examples import as_batch
from keras_stts.preprocessing.input_checks import check_alone
from keras_stts.preprocessing.input_checks import check_room_for_answers
from keras_stts.preprocessing.padded_rows import PaddedRows
from keras_stts.preprocessing.prompt_tokenizer import PromptTokenizer
from keras_stts.preprocessing.prompt_tokenizer import special_tokens_of
from keras_stts.preprocessing.sample_weights import weighted
from keras_stts.presets.preset_mixin import PresetMixin


class ChatPreprocessor(
    PresetMixin, PreprocessorHooks, keras_hub.models.CausalLMPreprocessor
):
    """What preprocessors of all families share: prompts, texts and labels.

    A subclass has `preprocess(x, y, sample_weight, sequence_length)`,
    `shown_of`, `input_layout`, `num_frames` and `vision_length`.

    Args:
        tokenizer: A `keras_stts.VideoVLMTokenizer`.
        sequence_length: Int. Length of the text part.
        chat_template: Str, or a dict of several, see
            `keras_stts.preprocessing.chat`.
        num_segments: Int M. Most samples in a row.
        prompt_mask: Bool. Whether the inputs say where prompts end.
        stop_token_ids: Optional ints. Tokens at which `generate` stops.
            Defaults to the tokenizer's end token.
        special_tokens: Optional dict of names such as `"bos_token"` to str,
            which a chat template may use. Defaults to the tokenizer's.
    """

    def __init__(
        self,
        tokenizer,
        sequence_length,
        *,
        chat_template,
        num_segments,
        prompt_mask,
        stop_token_ids,
        special_tokens,
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
        self.chat_template = chat.choose(chat_template)
        self.num_segments = num_segments
        self.prompt_mask = prompt_mask
        self._stop_token_ids = stop_token_ids
        if special_tokens is None:
            special_tokens = special_tokens_of(tokenizer)
        self.special_tokens = dict(special_tokens)
        # A model with an unbuilt layer is run uncompiled once by Keras.
        self.built = True

    @property
    def prompt_tokenizer(self):
        """The `PromptTokenizer`."""
        return PromptTokenizer(
            tokenizer=self.tokenizer,
            chat_template=self.chat_template,
            special_tokens=self.special_tokens,
        )

    @property
    def stop_token_ids(self):
        """Tokens at which `generate` stops."""
        if self._stop_token_ids is None:
            return [self.tokenizer.end_token_id]
        return [int(i) for i in self._stop_token_ids]

    def batch_specs(self, sequence_length=None):
        """Shapes and dtypes of the inputs and labels of an example.

        Args:
            sequence_length: Optional int.

        Returns:
            Tuple (inputs, labels) of dicts of names to (shape, dtype).
        """
        text = sequence_length or self.sequence_length
        inputs = self.input_layout.specs(
            frames=self.num_frames, vision=self.vision_length, text=text
        )
        labels = {"y": ((text,), "int32"), "weights": ((text,), "float32")}
        return inputs, labels

    def with_frames(self, num_frames=None, sampling=None):
        """A copy that samples videos differently.

        With the same weights a `VideoVLM` takes any number of frames: only
        the preprocessor has a fixed number.

        Args:
            num_frames: Optional int, frames of a video.
            sampling: Optional str, see `keras_stts.data.sample_indices`.

        Returns:
            A preprocessor with the same tokenizer.

        Raises:
            ValueError: If videos are sampled by one rule alone, and
                `sampling` is another one.
        """
        converter = self.video_converter
        config = converter.get_config()
        if num_frames is not None:
            config["num_frames"] = num_frames
        if sampling not in (None, converter.sampling):
            if not self.chooses_sampling:
                raise ValueError(
                    "This model's videos are sampled by its own rule. "
                    f"Received: sampling={sampling!r}, and the rule is "
                    f"{converter.sampling!r}. Leave `sampling` out."
                )
            config["sampling"] = sampling
        parts = {
            "tokenizer": self.tokenizer,
            "video_converter": type(converter).from_config(config),
        }
        config = {**self.get_config(), **parts}
        return type(self).from_config(self.config_for_frames(config))

    @property
    def chooses_sampling(self):
        """Whether videos may be sampled by several rules."""
        return "sampling" in self.video_converter.get_config()

    def config_for_frames(self, config):
        """A config whose video converter has got another number of frames."""
        return config

    def rows_of(self, sizes):
        """The `PaddedRows` of rows of so many samples."""
        return PaddedRows(
            sizes=sizes,
            num_segments=self.num_segments,
            pad_id=self.tokenizer.pad_token_id,
            prompt_mask=self.prompt_mask,
        )

    def with_text(self, vision, rows, tails, responses, length):
        """Inputs of the vision part with those of the text part.

        Args:
            vision: Dict of arrays.
            rows: `PaddedRows`.
            tails: List of lists of ints, what follows the vision part.
            responses: Optional list of str.
            length: Int.

        Returns:
            Dict of inputs; with responses a tuple of it, the next tokens and
            their weights.
        """
        if responses is None:
            return {**vision, **rows.text_part(tails, length)}
        texts, weights = self.prompt_tokenizer.with_responses(tails, responses)
        text, *labels = rows.labelled_text_part(tails, texts, weights, length)
        return ({**vision, **text}, *labels)

    def preprocess_in_graph(
        self, x, y=None, sample_weight=None, sequence_length=None
    ):
        """`preprocess` of symbols of TensorFlow."""
        from keras_stts.preprocessing.tf_data import call_in_graph

        batch = call_in_graph(self, x, sequence_length)
        return weighted(batch, y, sample_weight)

    def preprocess_prompts(self, x, sequence_length=None):
        """Arrays of what `generate` is asked."""
        x = _without_responses(x)
        if isinstance(x, dict) and are_encoded(x.get("videos")):
            outputs = self._after_videos(x, sequence_length)
        else:
            outputs = self.preprocess(x, sequence_length=sequence_length)
        check_alone(outputs)
        check_room_for_answers(outputs)
        return outputs

    def _after_videos(self, x, sequence_length):
        """The text part of questions about `EncodedVideo`s, and their prefix.

        Returns:
            Dict of `"token_ids"`, `"padding_mask"` and `"prefix"`.
        """
        x, sizes, single = as_batch(
            x, self.num_frames, self.num_images, self.num_segments
        )
        check_questions(x)
        videos = x["videos"]
        lines = x.get("subtitles") or [None] * len(videos)
        shown = [
            self.shown_of(video.timestamps, video.grid, line)
            for video, line in zip(videos, lines)
        ]
        heads, tails = self.prompt_tokenizer(x["prompts"], shown)
        for video, head in zip(videos, heads):
            video.check_head(head)
        rows, length = self.rows_of(sizes), sequence_length
        texts = rows.text_part(tails, length or self.sequence_length)
        if single:
            texts = {name: value[0] for name, value in texts.items()}
        return {**texts, "prefix": joined(videos)}

    def shown_of(self, timestamps, grid, subtitles=None):
        """What `prompt_tokenizer` is told of a video.

        Args:
            timestamps: Seconds of its sampled frames.
            grid: Rows and columns of blocks of a frame.
            subtitles: Optional list of (start, end, text).
        """
        raise NotImplementedError

    def preprocess_prompts_in_graph(self, x, sequence_length=None):
        """`preprocess_prompts` of symbols of TensorFlow."""
        return self.preprocess_in_graph(
            _without_responses(x), sequence_length=sequence_length
        )

    def generate_postprocess(self, x):
        """Turn token ids and padding mask of the text part into strings."""
        return self.strings_of(
            {name: keras.ops.convert_to_numpy(x[name]) for name in x}
        )

    def get_config(self):
        config = super().get_config()
        config.pop("add_start_token")
        config.pop("add_end_token")
        config.update(
            {
                "chat_template": self.chat_template,
                "num_segments": self.num_segments,
                "prompt_mask": self.prompt_mask,
                "stop_token_ids": self._stop_token_ids,
                "special_tokens": self.special_tokens,
            }
        )
        return config


def _without_responses(x):
    if not isinstance(x, dict):
        return x  # To be refused.
    return {name: x[name] for name in x if name != "responses"}
