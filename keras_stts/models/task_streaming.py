"""Answers as an iterator, piece by piece."""

import keras_hub
import numpy as np
from keras import ops

from keras_stts.models import cuda_graphs
from keras_stts.training import distributing
from keras_stts.training import padding

UNFINISHED = "\ufffd"  # The first bytes of a letter of several.


class Streaming:
    """See `VideoVLM`."""

    def stream(self, inputs, max_length=None, stop_token_ids="auto"):
        """Answer questions about videos, a piece of the answer at a time.

        Takes what `generate` takes, and the pieces together are what it
        returns. The videos are read and seen when the first piece is asked
        for. Whoever has read enough stops asking.

        Args:
            inputs: See `generate`.
            max_length: See `generate`.
            stop_token_ids: See `generate`.

        Yields:
            Str, at least one letter of the answer. Of a list of questions a
            list of a str for each, of which some may be empty.

        Raises:
            ValueError: If the sampler chooses whole answers (`"beam"`,
                `"contrastive"`), or the model has no preprocessor.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        clip = keras_stts.datasets.shapes.render("test", 0)
        question = clip.questions[0]["question"]
        for piece in model.stream({"videos": clip.frames, "prompts": question}):
            print(piece, end="", flush=True)
        ```
        """
        distributing.check_devices(self)
        self._check_streams()
        if stop_token_ids == "auto":
            stop_token_ids = self.preprocessor.stop_token_ids
        (inputs,), single = self.batches_of(self.all_encoded(inputs))
        return self._pieces(inputs, max_length, stop_token_ids or (), single)

    def _check_streams(self):
        one_by_one = keras_hub.samplers.Sampler.__call__
        if type(self.sampler).__call__ is not one_by_one:
            raise ValueError(
                "`stream` needs a sampler that draws token by token, such as "
                f'"greedy". Received: {type(self.sampler).__name__}. Compile '
                "the model with another one, or call `generate`."
            )
        if self.preprocessor is None:
            raise ValueError(
                "`stream` yields text, for which the model needs its "
                "preprocessor. Received: a model with preprocessor=None."
            )

    def _pieces(self, inputs, max_length, stop, single):
        x = self.preprocessor.generate_preprocess(
            inputs, sequence_length=max_length
        )
        sent, texts = [""] * len(x["token_ids"]), []
        for token_ids, answer in self.stream_tokens(x, stop):
            texts = self.preprocessor.generate_postprocess(
                {"token_ids": token_ids, "padding_mask": answer}
            )
            pieces, sent = new_letters(sent, texts)
            if any(pieces):
                yield pieces[0] if single else pieces
        pieces = [text[len(old) :] for old, text in zip(sent, texts)]
        if any(pieces):
            yield pieces[0] if single else pieces

    def stream_tokens(self, x, stop, sampler=None):
        """Answer preprocessed questions, a token at a time.

        Args:
            x: Dict of the model's inputs, (B, ...) each.
            stop: Ints, tokens at which answers end.
            sampler: Optional `keras_hub.samplers.Sampler` that draws token by
                token. It runs outside of what is compiled. Defaults to the
                model's.

        Yields:
            Tuple of arrays (B, S') of the text part, changed in place: the
            token ids so far, and, bool, which are of answers, the first stop
            token included.
        """
        sampler = sampler or self.sampler
        token_ids = np.array(x["token_ids"])
        prompt = np.array(x["padding_mask"], bool)
        size, answer = len(prompt), np.zeros_like(prompt)
        lengths, done = prompt.sum(-1), np.zeros(size, bool)
        decode = self._step("decode", self.decode)
        x, _ = padding.spread(x, self.rows_for("stream", decode, x))
        rows = len(x["token_ids"])
        _, prefix, cache = self._step("prefill", self.prefill)(x)
        for index in range(lengths.min(), prompt.shape[1]):
            last = {"token_ids": token_ids[:, index - 1 : index]}
            last, _ = padding.spread(last, rows)
            place = ops.convert_to_tensor(index - 1, "int32")
            logits, _, cache = decode(
                last["token_ids"], place, cache, prefix=prefix
            )
            drawn = draw(sampler, padding.gather(logits, size))
            if self.max_new_tokens is not None and stop:
                full = index - lengths >= self.max_new_tokens
                drawn = np.where(full, stop[0], drawn)
            new = ~prompt[:, index]
            token_ids[new, index] = drawn[new]
            answer[:, index] = new & ~done
            done |= new & np.isin(drawn, stop)
            yield token_ids, answer
            if done.all():
                return

    def _step(self, name, function):
        if cuda_graphs.wanted(self):
            return cuda_graphs.program(self, name, function)
        return self.program(name, function)


def draw(sampler, logits):
    """Token ids (B,) of logits (B, V)."""
    probabilities = sampler.compute_probabilities(logits)
    return ops.convert_to_numpy(sampler.get_next_token(probabilities))


def new_letters(sent, texts):
    """What is new in texts, and what then was sent of each.

    The bytes of an unfinished letter wait for the others.
    """
    whole = [text.rstrip(UNFINISHED) for text in texts]
    whole = [
        text if len(text) > len(old) else old for old, text in zip(sent, whole)
    ]
    return [text[len(old) :] for old, text in zip(sent, whole)], whole
