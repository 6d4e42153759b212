"""Answers token by token: compiled steps, and tokens drawn outside of them."""

import keras
import numpy as np
from keras import ops

from keras_stts.compiling import compiled
from keras_stts.models import cuda_graphs


class Steps:
    """Runs a model step by step.

    Args:
        model: A `VideoVLM` with a preprocessor.
    """

    def __init__(self, model):
        self._prefill = compiled(model, model.prefill)
        self._decode = compiled(model, model.decode)
        self._stops = [int(i) for i in model.preprocessor.stop_token_ids]
        # Else batches may have any number of rows.
        self.has_fixed_shapes = keras.config.backend() != "torch"
        self.has_fixed_shapes |= cuda_graphs.wanted(model)

    def tokens(self, x, sampler):
        """Answer preprocessed questions.

        Args:
            x: Dict of arrays (B, ...), the model's inputs.
            sampler: Has `compute_probabilities` and `get_next_token`.

        Yields:
            Tuple of arrays (B, S') of the text part, changed in place: the
            token ids so far; and, bool, which of them are of answers, without
            stop tokens; and of bool (B,), which answers have ended.
        """
        token_ids = np.array(x["token_ids"])
        prompt = np.array(x["padding_mask"], bool)
        spoken, ended = np.zeros_like(prompt), np.zeros(len(prompt), bool)
        x = {name: ops.convert_to_tensor(value) for name, value in x.items()}
        _, prefix, cache = self._prefill(x)
        for index in range(prompt.sum(-1).min(), prompt.shape[1]):
            logits, _, cache = self._decode(
                ops.convert_to_tensor(token_ids[:, index - 1 : index]),
                ops.convert_to_tensor(index - 1, "int32"),
                cache,
                prefix=prefix,
            )
            drawn = sampler.get_next_token(
                sampler.compute_probabilities(logits)
            )
            new = ~prompt[:, index]
            token_ids[new, index] = drawn[new]
            ended |= new & np.isin(drawn, self._stops)
            spoken[:, index] = new & ~ended
            yield token_ids, spoken, ended
            if ended.all():
                return
