import dataclasses

from keras_stts.preprocessing import chat
from keras_stts.preprocessing.chat import IMAGE
from keras_stts.preprocessing.chat import VIDEO
from keras_stts.preprocessing.examples import check_text
from keras_stts.preprocessing.video_vlm_tokenizer import VideoVLMTokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTokenizer:
    """Turns prompts, by a chat template, and responses into token ids.

    Args: see `VideoVLMPreprocessor`.
    """

    tokenizer: VideoVLMTokenizer
    chat_template: str
    special_tokens: dict

    def __call__(self, prompts, shown):
        """Token ids up to the last vision token, and those after it.

        Args:
            prompts: List of str or of messages.
            shown: List with a dict for each prompt of `"<|image|>"` and
                `"<|video|>"` to a tuple for each of them: (its ids, ids of
                the words after it).

        Returns:
            Tuple of two lists of lists of ints.
        """
        parts = [self._sequence(*item) for item in zip(prompts, shown)]
        return [head for head, _ in parts], [tail for _, tail in parts]

    def _sequence(self, prompt, shown):
        shown = {name: list(found) for name, found in shown.items()}
        counts = (len(shown.get(name, ())) for name in (IMAGE, VIDEO))
        self.check(prompt)
        head, tail = [self.tokenizer.start_token_id], []
        for piece in self._pieces(prompt, *counts):
            if piece in shown:
                vision, after = shown[piece].pop(0)
                head, tail = head + tail + vision, list(after)
            else:
                tail = tail + self.tokenize([piece])[0]
        return head, tail

    def _pieces(self, prompt, num_images, num_videos):
        text = chat.render(
            self.chat_template,
            prompt,
            num_images,
            num_videos,
            self.special_tokens,
        )
        # The start token occurs once, whether a template has it or not.
        return chat.pieces(text.removeprefix(self.tokenizer.start_token))

    def num_words_before(self, num_images, num_videos):
        """Tokens that the template itself puts before images and videos."""
        pieces = self._pieces("", num_images, num_videos)
        seen = [i for i, p in enumerate(pieces) if p in (IMAGE, VIDEO)]
        words = pieces[: max(seen, default=0)]
        words = [p for p in words if p not in (IMAGE, VIDEO)]
        return sum(map(len, self.tokenize(words))) if words else 0

    def with_responses(self, prompts, responses):
        """Join prompts and responses, with weights for the responses.

        The first token of a text is not predicted.

        Args:
            prompts: List of lists of ints.
            responses: List of str.

        Returns:
            Tuple of two lists of lists: ids, and weights, which are 1 for
            the response and its end token, else 0.
        """
        for response in responses:
            self.check(response)
        end = self.tokenizer.end_token_id
        answers = [ids + [end] for ids in self.tokenize(responses)]
        texts = [p + a for p, a in zip(prompts, answers)]
        weights = [
            [0] * len(p) + [1] * len(a) for p, a in zip(prompts, answers)
        ]
        for weight in weights:
            weight[0] = 0
        return texts, weights

    def check(self, text):
        """Raise if a text, or messages, hold vision tokens."""
        check_text(text)

    def tokenize(self, texts):
        """Lists of ints, one for each text."""
        return [[int(i) for i in ids] for ids in self.tokenizer.tokenize(texts)]


def special_tokens_of(tokenizer):
    """What a template is given beside the messages."""
    names = {"bos": "start", "eos": "end", "pad": "pad"}
    tokens = {
        f"{name}_token": getattr(tokenizer, f"{ours}_token")
        for name, ours in names.items()
    }
    return {**tokens, "image_token": IMAGE, "video_token": VIDEO}
