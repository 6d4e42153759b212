import dataclasses

from keras_stts.preprocessing import chat
from keras_stts.preprocessing.chat import IMAGE
from keras_stts.preprocessing.chat import VIDEO
from keras_stts.preprocessing.examples import check_text
from keras_stts.preprocessing.prompt_tokenizer import PromptTokenizer
from keras_stts.preprocessing.qwen3_vl.prompt import IMAGE_PAD
from keras_stts.preprocessing.qwen3_vl.prompt import VIDEO_PAD
from keras_stts.preprocessing.qwen3_vl.prompt import expand_prompt
from keras_stts.preprocessing.qwen3_vl.tokenizer import VISION_TOKENS

# Turns, with images and videos where their messages have them.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% elif part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}<|vision_start|><|video_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3VLPromptTokenizer(PromptTokenizer):
    """Turns prompts and responses into Qwen3-VL's token ids.

    Args: those of `PromptTokenizer`, and
        merge_size: Int. Side of what a token stands for, in patches.
    """

    merge_size: int = 2

    def __call__(self, prompts, shown):
        """Token ids up to the last vision token, and those after it.

        Args:
            prompts: List of str or of messages.
            shown: List with a tuple for each prompt: the grids (t, h, w) of
                its images, and pairs (grid, times) of its videos.

        Returns:
            Tuple of two lists of lists of ints.
        """
        texts = [self._text(*item) for item in zip(prompts, shown)]
        heads, tails = [], []
        ends = set(self.tokenizer.vision_token_ids)
        for ids in self.tokenize(texts):
            seen = [i for i, token in enumerate(ids) if token in ends]
            cut = seen[-1] + 1 if seen else 0
            heads.append(ids[:cut])
            tails.append(ids[cut:])
        return heads, tails

    def check(self, text):
        check_text(text, (*VISION_TOKENS.values(), IMAGE, VIDEO))

    def _text(self, prompt, shown):
        images, videos = shown
        self.check(prompt)
        # Qwen's templates write their own tokens for images and videos.
        template = self.chat_template.replace(IMAGE_PAD, IMAGE)
        text = chat.render(
            template.replace(VIDEO_PAD, VIDEO),
            prompt,
            len(images),
            len(videos),
            self.special_tokens,
        )
        return expand_prompt(
            text.replace(IMAGE, IMAGE_PAD).replace(VIDEO, VIDEO_PAD),
            image_grids=images,
            videos=videos,
            merge_size=self.merge_size,
        )
