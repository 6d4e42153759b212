import json
import os

import keras
import keras_hub

from keras_stts.models.preset_mixin import PresetMixin
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone

# Attribute of each vision token and its text; all see each other both ways.
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
class VideoVLMTokenizer(PresetMixin, keras_hub.tokenizers.Qwen3Tokenizer):
    """Qwen3's tokenizer with Molmo2's vision tokens.

    Args:
        vocabulary: Dict of token to id, or the path of a JSON file of it. It
            holds the vision tokens, `<|im_end|>` and `<|endoftext|>`.
        merges: List of merge rules, or the path of a file of them.

    Example:
    ```python
    tokenizer = keras_stts.VideoVLMTokenizer.from_preset("shapes_tiny")
    tokenizer.detokenize(tokenizer("left"))  # "left"
    ```
    """

    backbone_cls = VideoVLMBackbone

    def __init__(self, vocabulary=None, merges=None, **kwargs):
        for name, token in VISION_TOKENS.items():
            self._add_special_token(token, f"{name}_token")
        if isinstance(vocabulary, (str, os.PathLike)):
            with open(vocabulary, encoding="utf-8") as file:
                vocabulary = json.load(file)
        unsplittable = kwargs.pop("unsplittable_tokens", None)
        if unsplittable is None and vocabulary is not None:
            unsplittable = [t for t in vocabulary if _is_special(t)]
        super().__init__(
            vocabulary=vocabulary,
            merges=merges,
            unsplittable_tokens=unsplittable,
            **kwargs,
        )
        self.built = True

    @property
    def vision_token_ids(self):
        """Ids of the tokens that see each other both ways."""
        return [getattr(self, f"{name}_token_id") for name in VISION_TOKENS]


def _is_special(token):
    marks = (("<|", "|>"), ("|<", ">|"))
    if token in VISION_TOKENS.values():
        return True
    return any(token.startswith(a) and token.endswith(b) for a, b in marks)
