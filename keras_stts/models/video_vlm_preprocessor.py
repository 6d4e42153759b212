import os

import keras
import keras_hub
import numpy as np

from keras_stts.models.preset_mixin import PresetMixin
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.models.video_vlm_tokenizer import VISION_TOKENS
from keras_stts.models.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.models.video_vlm_video_converter import VideoVLMVideoConverter

PROMPT_TEMPLATE = (
    "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
)


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMPreprocessor(PresetMixin, keras_hub.models.CausalLMPreprocessor):
    """Makes videos, prompts and responses into a model's inputs.

    The vision part of a sequence is the start token and, for each frame, its
    time, `<frame_start>`, a placeholder a block and `<frame_end>`; the text
    part is the prompt in its template and the response. Both have a fixed
    length; nothing is ever cut to fit.

    Args:
        tokenizer: A `keras_stts.VideoVLMTokenizer`.
        video_converter: A `keras_stts.VideoVLMVideoConverter`.
        num_blocks: Int P. Placeholders a frame.
        sequence_length: Int. Length of the text part. Defaults to `256`.
        time_tokens: Int. Room for the time of a frame, in tokens, on average
            over the video. Defaults to `8`, which holds hours.
        prompt_template: Str with a field `{prompt}`. Defaults to Qwen3's chat
            turn of a user.

    Call arguments:
        x: Dict of `"videos"` (list of paths and uint8 arrays (T, H, W, 3), or
            an array (B, T, H, W, 3)), `"prompts"` and `"responses"` (lists of
            str), optionally `"fps"` (frames a second of arrays). A single
            video and two strings make a single example.

    Returns:
        Tuple (x, y, sample_weight), NumPy: the dict that `VideoVLMBackbone`
        takes, the next token ids (B, S') and their weights (B, S'), 1 at the
        response and the end token after it. Without responses only x.

    Raises:
        ValueError: If videos and texts differ in number, or a text does not
            fit its part of the sequence.
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
        prompt_template=PROMPT_TEMPLATE,
        **kwargs,
    ):
        for name in ("add_start_token", "add_end_token"):
            kwargs.pop(name, None)
        super().__init__(tokenizer, sequence_length, **kwargs)
        if "{prompt}" not in prompt_template:
            raise ValueError(
                "`prompt_template` must hold the field {prompt}. Received: "
                f"prompt_template={prompt_template!r}."
            )
        self.video_converter = video_converter
        self.num_blocks = num_blocks
        self.time_tokens = time_tokens
        self.prompt_template = prompt_template
        # A model with an unbuilt layer is run uncompiled once by Keras.
        self.built = True

    @property
    def num_frames(self):
        """Frames a video is sampled and padded to."""
        return self.video_converter.num_frames

    @property
    def vision_length(self):
        """Length of the vision part of a sequence."""
        frame = self.num_blocks + 2 + self.time_tokens
        return 1 + self.num_frames * frame

    def _call_python(self, x, y=None, sample_weight=None, sequence_length=None):
        x, single = _as_batch(x)
        length = sequence_length or self.sequence_length
        prompts = self._prompt_ids(x["prompts"])
        responses = x.get("responses")
        if responses is None:
            batch = self._text_inputs(prompts, length)
        else:
            batch = self._labelled_inputs(prompts, responses, length)
        inputs = batch if responses is None else batch[0]
        inputs.update(self._vision_inputs(x))
        if single:
            batch = keras.tree.map_structure(lambda array: array[0], batch)
        return batch

    def _call_tf(self, x, y=None, sample_weight=None, sequence_length=None):
        from keras_stts.models.tf_data import call_in_graph

        return call_in_graph(self, x, sequence_length)

    def _generate_preprocess_python(self, x, sequence_length=None):
        outputs = self._call_python(
            _without_responses(x), sequence_length=sequence_length
        )
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

    def _vision_inputs(self, x):
        converted = self.video_converter(x["videos"], fps=x.get("fps"))
        ids = [self._video_ids(t) for t in converted.pop("timestamps")]
        ids, mask = _pad(ids, self.vision_length, self._pad_id, "int32")
        return {**converted, "vision_token_ids": ids, "vision_mask": mask}

    def _video_ids(self, timestamps):
        """Start token, then each frame's time and placeholders."""
        tokenizer = self.tokenizer
        frame = [tokenizer.frame_start_token_id]
        frame += [tokenizer.image_patch_token_id] * self.num_blocks
        frame += [tokenizer.frame_end_token_id]
        texts = [
            f"{' ' if i else ''}{seconds:.1f} "
            for i, seconds in enumerate(timestamps)
        ]
        ids = [tokenizer.end_token_id]
        for marks in tokenizer.tokenize(texts):
            ids += [int(i) for i in marks] + frame
        if len(ids) > self.vision_length:
            raise ValueError(
                "The times of the frames need more tokens than `time_tokens` "
                f"leaves room for. Received: {len(texts)} frames up to second "
                f"{timestamps[-1]:.1f}, time_tokens={self.time_tokens}. Make "
                "`time_tokens` larger."
            )
        return ids

    def _prompt_ids(self, prompts):
        return self._tokenize(
            [self.prompt_template.replace("{prompt}", p) for p in prompts]
        )

    def _labelled_inputs(self, prompts, responses, length):
        """Inputs of the text part, the next tokens and their weights."""
        texts, weights = self._with_responses(prompts, responses)
        packed = self._text_inputs(texts, length + 1)
        inputs = {name: packed[name][:, :-1] for name in packed}
        weights, _ = _pad(weights, length + 1, 0, "float32")
        return inputs, packed["token_ids"][:, 1:], weights[:, 1:]

    def _with_responses(self, prompts, responses):
        """Join prompts and responses; weigh the response and its end."""
        end = self.tokenizer.end_token_id
        answers = [ids + [end] for ids in self._tokenize(responses)]
        texts = [p + a for p, a in zip(prompts, answers)]
        weights = [
            [0] * len(p) + [1] * len(a) for p, a in zip(prompts, answers)
        ]
        return texts, weights

    def _tokenize(self, texts):
        for text in texts:
            found = [t for t in VISION_TOKENS.values() if t in text]
            if found:
                raise ValueError(
                    "Prompts and responses must not hold vision tokens; each "
                    f"frame gets its own {self.num_blocks}. Received: "
                    f"{found[0]} in {text!r}."
                )
        return [[int(i) for i in ids] for ids in self.tokenizer.tokenize(texts)]

    def _text_inputs(self, texts, length):
        longest = max(len(ids) for ids in texts)
        if longest > length:
            raise ValueError(
                "A prompt, with its template and response, must fit "
                f"`sequence_length` tokens; it is never cut. Received: "
                f"{longest} tokens, room for {length}. Make `sequence_length` "
                "(or `max_length` of `generate`) larger."
            )
        ids, mask = _pad(texts, length, self._pad_id, "int32")
        return {"token_ids": ids, "padding_mask": mask}

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
                "prompt_template": self.prompt_template,
            }
        )
        return config


def _without_responses(x):
    if not isinstance(x, dict):
        return x  # To be refused.
    return {name: x[name] for name in x if name != "responses"}


def _as_batch(x):
    """The dict with lists in it, and whether it was a single example."""
    if not isinstance(x, dict) or not {"videos", "prompts"} <= set(x):
        names = sorted(x) if isinstance(x, dict) else type(x).__name__
        raise ValueError(
            'The input must be a dict with "videos" and "prompts", and '
            f'"responses" to train. Received: {names}.'
        )
    unknown = set(x) - {"videos", "prompts", "responses", "fps"}
    if unknown:
        raise ValueError(
            'The input may hold "videos", "prompts", "responses" and "fps". '
            f"Received also: {', '.join(sorted(unknown))}."
        )
    x = dict(x)
    single = _is_text(x["prompts"])
    for name in ("prompts", "responses"):
        if x.get(name) is not None:
            texts = [x[name]] if single else list(x[name])
            x[name] = [_to_text(text) for text in texts]
    if single:
        x["videos"] = [x["videos"]]
    elif isinstance(x["videos"], (str, bytes, os.PathLike)):
        raise ValueError(
            "A list of prompts needs a list of videos. Received: videos="
            f"{x['videos']!r} and {len(x['prompts'])} prompts."
        )
    sizes = {
        name: len(x[name])
        for name in ("videos", "prompts", "responses")
        if x.get(name) is not None
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(
            "There must be as many videos as prompts and responses. "
            f"Received: {', '.join(f'{n} {k}' for k, n in sizes.items())}."
        )
    return x, single


def _is_text(value):
    if isinstance(value, np.ndarray):
        return value.ndim == 0
    return isinstance(value, (str, bytes))


def _to_text(value):
    if isinstance(value, np.ndarray):
        value = value.item()
    return value.decode() if isinstance(value, bytes) else str(value)


def _pad(rows, length, value, dtype):
    ids = np.full((len(rows), length), value, dtype)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask
