import keras

from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer

# Attribute and text of each token of images and videos.
VISION_TOKENS = {
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
    "image_pad": "<|image_pad|>",
    "video_pad": "<|video_pad|>",
}


@keras.saving.register_keras_serializable(package="keras_stts")
class Qwen3VLTokenizer(VideoVLMTokenizer):
    """Byte-pair tokenizer of Qwen3-VL.

    Its arguments are those of `VideoVLMTokenizer`; the vocabulary holds Qwen's
    tokens of images and videos instead of Molmo2's. No token begins a sequence:
    `start_token` is for chat templates that ask for one.
    """

    vision_tokens = VISION_TOKENS
