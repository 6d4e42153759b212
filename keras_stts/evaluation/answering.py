"""Answers to batches of questions, and their cost."""

import math
import time

import keras_hub
import numpy as np

from keras_stts.compiling import compiled
from keras_stts.compiling import wait
from keras_stts.evaluation import memory
from keras_stts.models import cuda_graphs
from keras_stts.training import padding

# Text parts are padded to these lengths, so that few shapes are compiled.
LEAST_LENGTH = 32
# More tokens than fit a sequence of the published models.
MOST_LENGTH = 2**16
PARTS = 10  # Of a video, and of images whose grids differ.


class Answerer:
    """Answers questions greedily, and times prefill and decoding.

    The first batch of a shape is run twice: to compile, and to be timed. With
    CUDA graphs it is run three times, and a later batch with other shapes than
    the last runs without a graph.

    Args:
        model: A `VideoVLM`.
        preprocessor: The model's, or its `with_frames(...)`.
        max_new_tokens: Int. Longest answer.

    Call arguments:
        examples: Dict of lists as `model.generate` takes it, always with the
            same number of examples.

    Returns:
        List of dicts, one for each example, of

        - `"prediction"`, the answer;
        - counts: `"vision_tokens"` that the language model sees,
          `"vision_tokens_left"` in its last layer, `"prompt_tokens"` beside
          them (times, frame tokens, subtitles, words), `"answer_tokens"`, and
          `"text_length"`, to which the text part is padded, and, where frames
          differ in size, `"num_frames"` and `"num_blocks"` of the video's
          bucket;
        - `"prefill_seconds"` and `"compile_seconds"` (by which the first run
          was slower than the second), both of the batch, divided by its size;
        - `"decode_seconds"`, the same of one step, times the steps of this
          answer and its end token;
        - `"peak_memory"` so far, bytes by device;
        - if blocks are pruned, the shares that are left in the end:
          `"kept_by_row"` of the image (for each tenth of its height, where
          videos have grids of their own), and `"kept_by_time"`, for each
          tenth of the video.
    """

    def __init__(self, model, preprocessor, max_new_tokens):
        self.model = model
        self.preprocessor = preprocessor
        self.max_new_tokens = max_new_tokens
        self._shapes = set()
        self._stop = tuple(preprocessor.stop_token_ids)
        self._prefill = compiled(model, self._see)
        self._decode = compiled(model, self._say, loops=True)

    def __call__(self, examples):
        x = self.preprocess(examples)
        shape = tuple(value.shape for value in x.values())
        seen, token_ids, times = self._run(x)
        compiling = 0.0
        if shape not in self._shapes:
            self._shapes.add(shape)
            first = sum(times)
            if cuda_graphs.wanted(self.model):
                # Graphs of new shapes are recorded at their second run.
                first += sum(self._run(x)[2])
            seen, token_ids, times = self._run(x)
            compiling = max(0.0, first - sum(times))
        texts, counts = self._texts(x, token_ids)
        size, held = len(texts), memory.peak()
        layout = self.preprocessor.input_layout
        steps = np.minimum(counts + 1, self.max_new_tokens)
        step = times[1] / self._steps(x, counts)
        return [
            {
                "prediction": texts[i],
                **_tokens(x, i, layout, seen),
                "answer_tokens": int(counts[i]),
                "text_length": x["token_ids"].shape[1],
                **_padded(x, layout),
                "prefill_seconds": times[0] / size,
                "decode_seconds": float(steps[i] * step / size),
                "compile_seconds": compiling / size,
                "peak_memory": held,
            }
            for i in range(size)
        ]

    def preprocess(self, examples):
        """Inputs of the model, with room for the longest answer."""
        x = self.preprocessor.generate_preprocess(
            examples, sequence_length=MOST_LENGTH
        )
        longest = int(x["padding_mask"].sum(-1).max()) + self.max_new_tokens
        step = max(LEAST_LENGTH, 2 ** (longest.bit_length() - 3))
        length = -(-longest // step) * step
        parts = {"token_ids", "padding_mask", "prompt_mask"} & set(x)
        text = {name: x[name][:, :length] for name in parts}
        return padding.as_in_others(x | text)

    def _run(self, x):
        """Kept blocks, token ids, and the seconds of prefill and decoding."""
        x, size = padding.spread(x)
        start = time.perf_counter()
        kept, state = self._prefill(x)
        wait(state)
        middle = time.perf_counter()
        tokens = self._decode(x, state)
        wait(tokens)
        end = time.perf_counter()
        kept, tokens = padding.gather((kept, tokens), size)
        return kept, tokens, (middle - start, end - middle)

    def _see(self, x):
        vision = self.model.backbone.encode_vision(x)
        state = self.model.prefill(x, vision)
        kept = {}
        if "selection" in vision:
            kept["shown"] = vision["selection"].kept
        if "places" in state[1]:
            kept["places"] = state[1]["places"]
        return kept, state

    def _say(self, x, state):
        outputs = self.model.generate_after_prefill(
            x,
            state,
            self._stop,
            sampler=keras_hub.samplers.GreedySampler(),
            max_new_tokens=self.max_new_tokens,
        )
        return outputs["token_ids"]

    def _steps(self, x, counts):
        """Steps of a batch, from its shortest prompt to its last end token."""
        prompts = x["padding_mask"].astype(bool).sum(-1)
        last = np.minimum(prompts + counts, x["padding_mask"].shape[1] - 1)
        return int(last.max() - prompts.min()) + 1

    def _texts(self, x, token_ids):
        """Answers up to the end token or the longest length; their lengths."""
        prompt = x["padding_mask"].astype(bool)
        place = np.arange(prompt.shape[1]) - prompt.sum(-1, keepdims=True)
        answer = (place >= 0) & (place < self.max_new_tokens)
        stops = np.isin(token_ids, self._stop) & answer
        answer &= np.cumsum(stops, axis=-1) == 0
        texts = self.preprocessor.generate_postprocess(
            {"token_ids": token_ids, "padding_mask": answer}
        )
        return texts, answer.sum(-1)


def _padded(x, layout):
    """What frames are padded to, where they differ in size."""
    if "videos" not in x or layout.num_blocks_of_frames is not None:
        return {}
    frames = x["frame_mask"].shape[1]
    return {"num_frames": frames, "num_blocks": layout.most_blocks(x)}


def _tokens(x, i, layout, kept):
    """Counts of an example's tokens, and the shares of its kept blocks."""
    text = int(x["padding_mask"][i].sum()) + int(x["vision_mask"][i].sum())
    if "frame_mask" not in x:
        none = {"vision_tokens": 0, "vision_tokens_left": 0}
        return {**none, "prompt_tokens": text}
    frames, most = int(x["frame_mask"][i].sum()), layout.most_blocks(x)
    grid = layout.grid_of(x, i)
    shape, number = x["frame_mask"].shape[1:] + (most,), math.prod(grid)
    shown = np.ones(shape, bool)
    if "shown" in kept:
        shown = kept["shown"][i]
    left = shown
    if "places" in kept:
        left = np.isin(np.arange(math.prod(shape)), kept["places"][i])
        left = left.reshape(shape)
    # Padding frames, and what frames lack, come last.
    shown, left = (each[:frames, :number] for each in (shown, left))
    tokens = {
        "vision_tokens": int(shown.sum()),
        "vision_tokens_left": int(left.sum()),
        "prompt_tokens": text - frames * number,
    }
    if not kept:
        return tokens
    by_row = kept_by_row(left, grid)
    if layout.num_blocks_of_frames is None:
        by_row = in_parts(by_row)  # Videos have grids of their own.
    return {
        **tokens,
        "kept_by_row": _shares(by_row),
        "kept_by_time": _shares(kept_by_time(left)),
    }


def _shares(values):
    return [round(float(value), 4) for value in values]


def kept_by_row(kept, grid):
    """Share of the blocks kept in each row of the image, from the top.

    Args:
        kept: Bool (T, P).
        grid: (rows, columns) of the P blocks.
    """
    return kept.reshape(-1, *grid).mean((0, 2))


def kept_by_time(kept, bins=PARTS):
    """Share of the blocks kept in each part of the video.

    A frame counts for the parts in which it is shown.

    Args:
        kept: Bool (T, P).
        bins: Int. Number of equal parts of the video.
    """
    return in_parts(kept.mean(-1), bins)


def in_parts(shares, bins=PARTS):
    """Mean of shares (n,) in each of some equal parts of what they cover."""
    number = len(shares)
    # The i-th of n covers i to i + 1: a fine grid of places covers all.
    places = (np.arange(bins * number) + 0.5) / bins
    return shares[places.astype(int)].reshape(bins, number).mean(-1)
