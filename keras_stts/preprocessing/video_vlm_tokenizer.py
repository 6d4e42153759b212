import json
import os

import keras
import keras_hub
import tokenizers
from tokenizers import normalizers
from tokenizers import pre_tokenizers

from keras_stts import _hub_compat as hub
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.presets.preset_mixin import PresetMixin

# Where Qwen3 and GPT-2 split a text before byte pairs are merged.
QWEN3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2_SPLIT = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|"
    r"\s+(?!\S)|\s+"
)

# Attribute and text of each vision token; they all attend to each other.
VISION_TOKENS = {
    "image_patch": "<im_patch>",
    "image_col": "<im_col>",
    "image_start": "<im_start>",
    "low_res_image_start": "<low_res_im_start>",
    "frame_start": "<frame_start>",
    "image_end": "<im_end>",
    "frame_end": "<frame_end>",
    "image_low": "<im_low>",
}


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLMTokenizer(
    PresetMixin,
    hub.ByteTokenizerHooks,
    keras_hub.tokenizers.BytePairTokenizer,
):
    """Byte-pair tokenizer, by default Qwen3's, with Molmo2's vision tokens.

    Args:
        vocabulary: Dict of token to id, or the path of its JSON file. It must
            hold the vision tokens and the three tokens named below.
        merges: List of merge rules, or the path of their file.
        split_pattern: Str, a regular expression for the pieces into which a
            text is split before pairs are merged. Defaults to Qwen3's.
        normalization: `"NFC"` or `None`, the Unicode normalization of texts.
        start_token: Optional str, first token of a sequence. Defaults to
            `end_token`, as in Molmo2.
        end_token: Str, last token of an answer. Defaults to `"<|im_end|>"`.
        pad_token: Str. Defaults to `"<|endoftext|>"`.
        extra_special_tokens: List of str, further tokens to leave out of
            answers. Defaults to none.

    Attributes:
        image_patch_token_id: Int. Id of the placeholder of a block, the
            `image_patch_id` of `keras_stts.VideoVLMBackbone`.
        vision_token_ids: List of ints. Ids of all vision tokens, that one
            among them; a backbone's argument of that name.

    Example:
    ```python
    tokenizer = keras_stts.VideoVLMTokenizer.from_preset("shapes_tiny")
    tokenizer.detokenize(tokenizer("left"))  # "left"
    ```
    """

    backbone_cls = VideoVLMBackbone
    # Of each family: attribute and text of its tokens of images and videos.
    vision_tokens = VISION_TOKENS

    def __init__(
        self,
        vocabulary=None,
        merges=None,
        *,
        split_pattern=QWEN3_SPLIT,
        normalization="NFC",
        start_token=None,
        end_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=(),
        **kwargs,
    ):
        if normalization not in ("NFC", None):
            raise ValueError(
                '`normalization` must be "NFC" or None. Received: '
                f"normalization={normalization!r}."
            )
        self.split_pattern = split_pattern
        self.normalization = normalization
        self.extra_special_tokens = list(extra_special_tokens)
        self.add_special_token(start_token or end_token, "start_token")
        self.add_special_token(end_token, "end_token")
        self.add_special_token(pad_token, "pad_token")
        for name, token in self.vision_tokens.items():
            self.add_special_token(token, f"{name}_token")
        if isinstance(vocabulary, (str, os.PathLike)):
            with open(vocabulary, encoding="utf-8") as file:
                vocabulary = json.load(file)
        unsplittable = kwargs.pop("unsplittable_tokens", None)
        if unsplittable is None and vocabulary is not None:
            unsplittable = [
                t for t in vocabulary if _is_special(t, self.vision_tokens)
            ]
        super().__init__(
            vocabulary=vocabulary,
            merges=merges,
            unsplittable_tokens=unsplittable,
            **kwargs,
        )
        self.built = True

    def prepare(self, tokenizer):
        # KerasHub takes the pattern for a literal word, and never splits.
        split = pre_tokenizers.Split(
            tokenizers.Regex(self.split_pattern), "isolated"
        )
        level = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
        if self.normalization:
            tokenizer.normalizer = normalizers.NFC()

    def save_tokenizers_file(self, path):
        """Write `tokenizer.json`, as Hugging Face's tokenizers read it."""
        self.inner_tokenizer().save(str(path))

    @property
    def special_token_ids(self):
        """Ids of the tokens that are left out of answers."""
        extra = {self.token_to_id(t) for t in self.extra_special_tokens}
        return sorted(extra.union(super().special_token_ids))

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "split_pattern": self.split_pattern,
                "normalization": self.normalization,
                "start_token": self.start_token,
                "end_token": self.end_token,
                "pad_token": self.pad_token,
                "extra_special_tokens": self.extra_special_tokens,
            }
        )
        return config

    @property
    def vision_token_ids(self):
        """Ids of the tokens of images and videos."""
        names = self.vision_tokens
        return [getattr(self, f"{name}_token_id") for name in names]


def _is_special(token, vision_tokens):
    marks = (("<|", "|>"), ("|<", ">|"))
    if token in vision_tokens.values():
        return True
    return any(token.startswith(a) and token.endswith(b) for a, b in marks)
