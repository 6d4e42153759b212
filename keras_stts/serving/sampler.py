"""Drawing tokens of a batch whose rows have settings of their own."""

import keras
import keras_hub
import numpy as np
from keras import ops

# Divides logits of rows that take the likeliest token: not used, but finite.
NEUTRAL = 1.0


class RowSampler(keras_hub.samplers.Sampler):
    """Each row has its own temperature, share of likely tokens and length.

    These are variables, so that a model is compiled once for all settings.

    Args:
        batch_size: Int. Rows of a batch.
        seed: Optional int.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    sampler = RowSampler(2)
    model.compile(sampler=sampler)
    sampler.set_rows(temperatures=[0, 0.7], top_ps=[1, 0.9], lengths=[5, 5])
    clips = [keras_stts.datasets.shapes.render("test", i) for i in range(2)]
    model.generate(
        {
            "videos": [clip.frames for clip in clips],
            "prompts": [clip.questions[0]["question"] for clip in clips],
        }
    )
    ```
    """

    def __init__(self, batch_size, seed=None):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._temperatures = _of_rows(batch_size, "float32")
        self._top_ps = _of_rows(batch_size, "float32")
        self._lengths = _of_rows(batch_size, "int32")

    @property
    def variables(self):
        rows = [self._temperatures, self._top_ps, self._lengths]
        return super().variables + rows

    def set_rows(self, temperatures, top_ps, lengths):
        """Settings of the rows of the next batch.

        Args:
            temperatures: Floats (B,); 0 takes the likeliest token.
            top_ps: Floats (B,), in (0, 1]. Tokens are drawn from the fewest
                that have this probability together.
            lengths: Ints (B,). Most tokens of an answer.
        """
        self._temperatures.assign(np.asarray(temperatures, "float32"))
        self._top_ps.assign(np.asarray(top_ps, "float32"))
        self._lengths.assign(np.asarray(lengths, "int32"))

    def __call__(self, next, prompt, *, mask, stop_token_ids, **kwargs):
        prompts = ops.sum(ops.cast(mask, "int32"), axis=-1)

        def ended(prompt, cache, index):
            """As `next`; a row whose answer is full gets a stop token."""
            logits, hidden, cache = next(prompt, cache, index)
            full = ops.cast(index, "int32") - prompts >= self._lengths
            stop = ops.one_hot(
                stop_token_ids[0], logits.shape[-1], dtype=logits.dtype
            )
            full = ops.expand_dims(full, -1)
            return ops.where(full, 3e4 * stop, logits), hidden, cache

        return super().__call__(
            ended, prompt, mask=mask, stop_token_ids=stop_token_ids, **kwargs
        )

    def compute_probabilities(self, logits):
        scales = ops.expand_dims(self._temperatures, -1)
        scales = ops.where(scales > 0, scales, NEUTRAL)
        return keras.activations.softmax(ops.cast(logits, "float32") / scales)

    def get_next_token(self, probabilities):
        number = probabilities.shape[-1]
        likely, tokens = ops.top_k(probabilities, number, sorted=True)
        before = ops.cumsum(likely, axis=-1) - likely
        kept = before < ops.expand_dims(self._top_ps, -1)
        logits = ops.log(ops.where(kept, likely, 0.0) + 1e-30)
        drawn = keras.random.categorical(
            logits, 1, seed=self.seed_generator, dtype="int32"
        )
        first = ops.expand_dims(self._temperatures, -1) > 0
        drawn = ops.where(first, drawn, ops.zeros_like(drawn))
        return ops.squeeze(ops.take_along_axis(tokens, drawn, axis=-1), -1)


def _of_rows(batch_size, dtype):
    return keras.Variable(np.ones(batch_size), dtype=dtype, trainable=False)
