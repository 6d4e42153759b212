"""Drawing tokens of a batch whose rows have settings of their own."""

import keras
import keras_hub
import numpy as np

MOST_LIKELY = 1024  # Tokens that are sorted first; most draws need no more.


class RowSampler(keras_hub.samplers.Sampler):
    """Each row has its own temperature, share of likely tokens and seed.

    It runs outside of what is compiled, on NumPy arrays, so a model is
    compiled once for all settings.

    Example:

    >>> sampler = RowSampler()
    >>> sampler.set_rows([0], top_ps=[1], seeds=[None], starts=[0])
    >>> sampler.get_next_token(sampler.compute_probabilities([[1, 3, 2]]))
    array([1])
    """

    def set_rows(self, temperatures, top_ps, seeds, starts):
        """Settings of the rows of the next batch.

        Args:
            temperatures: Floats (B,); 0 takes the likeliest token.
            top_ps: Floats (B,), in (0, 1]. Tokens are drawn from the fewest
                that have this probability together.
            seeds: Ints or `None` (B,).
            starts: Ints (B,). Tokens of the batch before the first of a row:
                rows with longer prompts begin later.
        """
        self._temperatures = np.array(temperatures, "float32")
        self._top_ps = top_ps
        self._starts, self._step = np.array(starts), 0
        self._generators = [np.random.default_rng(seed) for seed in seeds]

    def compute_probabilities(self, logits):
        logits = np.asarray(keras.ops.convert_to_numpy(logits), "float32")
        drawn = self._temperatures > 0
        logits = logits / np.where(drawn, self._temperatures, 1)[:, None]
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    def get_next_token(self, probabilities):
        tokens = probabilities.argmax(-1)
        drawn = (self._temperatures > 0) & (self._step >= self._starts)
        self._step += 1
        for row in np.flatnonzero(drawn):
            likely = _likeliest(probabilities[row], self._top_ps[row])
            shares = probabilities[row][likely].astype("float64")
            tokens[row] = self._generators[row].choice(
                likely, p=shares / shares.sum()
            )
        return tokens


def _likeliest(probabilities, top_p):
    """The fewest tokens whose probabilities have this sum at least."""
    if top_p >= 1:
        return np.arange(len(probabilities))
    number = min(MOST_LIKELY, len(probabilities))
    first = np.argpartition(probabilities, -number)[-number:]
    if probabilities[first].sum() < top_p:
        first = np.arange(len(probabilities))
    order = first[np.argsort(-probabilities[first], kind="stable")]
    before = np.cumsum(probabilities[order]) - probabilities[order]
    return order[before < top_p]
