"""How a `VideoVLM` answers: prefill, then token by token."""

import contextlib
import functools
import math

from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts.memory import foresight
from keras_stts.models import cuda_graphs
from keras_stts.models.backbone_bounds import is_int
from keras_stts.models.batch_sizes import BatchSizes
from keras_stts.models.batch_sizes import in_batches
from keras_stts.models.batch_sizes import is_compiled
from keras_stts.models.kept import kept_of
from keras_stts.preprocessing import input_checks
from keras_stts.preprocessing.encoded_video import are_encoded
from keras_stts.preprocessing.examples import is_single
from keras_stts.training import arrays
from keras_stts.training import distributing
from keras_stts.training import jobs
from keras_stts.training import padding


class Answering:
    """See `VideoVLM`."""

    def generate(
        self,
        inputs,
        max_length=None,
        stop_token_ids="auto",
        strip_prompt=True,
        *,
        batch_size=None,
    ):
        """Answer questions about videos.

        Tokens are drawn from the five likeliest, KerasHub's default, so
        answers vary; `compile(sampler="greedy")` takes the likeliest. A model
        loaded from files of transformers draws as their
        `generation_config.json` says, by default the likeliest.

        A program is compiled for the shapes of a batch. A smaller batch is
        filled up to one that was run before, if that has at most 16 times its
        rows, which takes less time than compiling.

        Args:
            inputs: Dict of `"videos"` and `"prompts"`, lists of the same
                length, or one video and one str. A video may be what `encode`
                returned.
            max_length: Int. Tokens of prompt, template and answer together.
                Defaults to the preprocessor's `sequence_length`.
            stop_token_ids: See `keras_hub.models.CausalLM.generate`. By
                default the preprocessor's.
            strip_prompt: Bool. Whether to leave the prompt out. Defaults to
                `True`.
            batch_size: Optional int. More questions are run in batches of so
                many, fewer are filled up. Defaults to all at once.

        Returns:
            List of str, or a str for a single question; without preprocessor
            a dict of token ids and padding mask.
        """
        distributing.check_devices(self)
        if max_length is not None and not is_int(max_length, 1, math.inf):
            raise ValueError(
                "`max_length` must be a number of tokens, 1 at least. "
                f"Received: max_length={max_length!r}."
            )
        inputs = self.all_encoded(inputs)
        if isinstance(inputs, dict) and not are_encoded(inputs.get("videos")):
            rows, length = arrays.batch_shape(inputs, batch_size or math.inf)
            foresight.before_generate(self, rows, max_length or length)
        _check_alike(inputs, batch_size)
        if self.preprocessor is not None and stop_token_ids == "auto":
            stop_token_ids = list(self.preprocessor.stop_token_ids)
        answer = functools.partial(
            super().generate,
            max_length=max_length,
            stop_token_ids=stop_token_ids,
            strip_prompt=strip_prompt,
        )
        self._batch_size = batch_size
        try:
            with distributing.alone() as self._distribution:
                if batch_size is None:
                    return answer(inputs)
                return in_batches(answer, inputs, batch_size)
        finally:
            self._batch_size = None

    def make_generate_function(self):
        function = super().make_generate_function()
        distribution = getattr(self, "_distribution", None)

        def generate(inputs, stop_token_ids=None):
            context = distribution and distribution.scope()
            with context or contextlib.nullcontext():
                size = len(inputs["token_ids"])
                inputs = padding.as_in_others(inputs)
                rows = self.rows_for("generate", function, inputs)
                whole, _ = padding.spread(inputs, rows)
                return padding.gather(function(whole, stop_token_ids), size)

        return generate

    def rows_for(self, name, function, inputs):
        """Rows that a batch is filled up to before it is given a function."""
        if getattr(self, "_batch_size", None):
            return self._batch_size
        if not is_compiled(self):
            return len(inputs["token_ids"])
        made = vars(self).setdefault("_sizes", {})
        if name not in made or made[name].function is not function:
            made[name] = BatchSizes(function)
        return made[name].rows_for(inputs)

    def batches_of(self, inputs):
        if not isinstance(inputs, dict):
            return super().batches_of(inputs)
        if self.preprocessor is None:
            input_checks.check_inputs(self.backbone, inputs)
            input_checks.check_alone(inputs)
            return [inputs], False
        single = is_single(inputs.get("prompts"))
        if single:
            inputs = {name: [value] for name, value in inputs.items()}
        return [inputs], single

    def generate_step(self, inputs, stop_token_ids=None):
        """Generate for one batch of preprocessed inputs.

        Args:
            inputs: Dict of the model's inputs.
            stop_token_ids: Tuple of ints, or `None`.

        Returns:
            Dict of `"token_ids"` and `"padding_mask"`, (B, S') each.
        """
        prefill = self.prefill
        if "prefix" not in inputs:
            prefill = cuda_graphs.program(self, "prefill", prefill)
        return self.generate_after_prefill(
            inputs, prefill(inputs), stop_token_ids
        )

    def generate_after_prefill(
        self,
        inputs,
        state,
        stop_token_ids=None,
        *,
        sampler=None,
        max_new_tokens=None,
    ):
        """Generate after `prefill`.

        Args:
            inputs: Dict of the model's inputs.
            state: What `prefill` returned.
            stop_token_ids: Tuple of ints, or `None`.
            sampler: Optional KerasHub sampler. Defaults to the compiled one.
            max_new_tokens: Optional int. Most tokens of an answer. Defaults
                to the model's.

        Returns:
            See `generate_step`.
        """
        padding_mask = ops.cast(inputs["padding_mask"], "bool")
        hidden, prefix, cache = state
        prompts = ops.sum(ops.cast(padding_mask, "int32"), axis=-1)
        most = max_new_tokens or self.max_new_tokens
        decode = cuda_graphs.program(self, "decode", self.decode)

        def next(prompt, cache, index):
            place = index - 1
            batch_size = ops.shape(prompt)[0]
            token = ops.slice(prompt, [0, place], [batch_size, 1])
            logits, hidden, cache = decode(token, place, cache, prefix=prefix)
            if most is not None and stop_token_ids:
                full = index - prompts >= most
                logits = _stop_where(full, logits, stop_token_ids[0])
            return logits, hidden, cache

        token_ids = (sampler or self.sampler)(
            next=next,
            prompt=inputs["token_ids"],
            cache=cache,
            index=ops.min(prompts),
            mask=padding_mask,
            stop_token_ids=stop_token_ids,
            hidden_states=hidden,
            model=self,
        )
        until = _until_stop(token_ids, padding_mask, stop_token_ids)
        return {"token_ids": token_ids, "padding_mask": until}

    def prefill(self, inputs, vision=None):
        """Run videos and prompts.

        Args:
            inputs: Dict of the model's inputs; or, of questions about encoded
                videos, with their `"prefix"` in place of vision inputs.
            vision: Optional dict, what `backbone.encode_vision(inputs)`
                returned, if it was run before.

        Returns:
            Tuple (hidden states of the text part (B, S', D), prefix, cache),
            the latter two as `decode` takes them.
        """
        if "prefix" in inputs:
            prefix = inputs["prefix"]
            hidden, cache = self.backbone.decode(inputs["token_ids"], prefix)
            return hidden, prefix, cache
        return self.backbone.encode(inputs, vision)

    def decode(self, token_ids, index, cache, prefix):
        """Run one more token of each text.

        Args:
            token_ids: Int tensor (B, 1).
            index: Int scalar tensor, where in the texts they stand.
            cache: What `prefill` or `decode` returned.
            prefix: What `prefill` returned.

        Returns:
            Tuple (logits (B, V), hidden states (B, D), cache).

        Example, the first two tokens of greedy answers by hand:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        clip = keras_stts.datasets.shapes.render("test", 0)
        question = clip.questions[0]["question"]
        x = model.preprocessor.generate_preprocess(
            {"videos": [clip.frames], "prompts": [question]}
        )
        index = int(x["padding_mask"].sum()) - 1
        x = {k: keras.ops.convert_to_tensor(v) for k, v in x.items()}
        _, prefix, cache = model.prefill(x)
        token = x["token_ids"][:, index : index + 1]
        for index in (index, index + 1):
            logits, _, cache = model.decode(token, index, cache, prefix)
            token = keras.ops.argmax(logits, axis=-1)[:, None]
        ```
        """
        hidden, cache = self.backbone.decode(
            token_ids, prefix, cache=cache, index=index
        )
        logits = ops.squeeze(self.lm_head(hidden), axis=1)
        return logits, ops.squeeze(hidden, axis=1), cache

    def kept_blocks(self, video, fps=None):
        """What is kept of one video, for `keras_stts.visualize`.

        Args:
            video: A path or a uint8 array (T, H, W, 3).
            fps: Optional number, frames a second of an array.

        Returns:
            Dict of `"frames"`, uint8 (T, H, W, 3), those that the model sees,
            of the video's own size;
            `"timestamps"`, seconds (T,); `"kept"`, bool (T, P); `"scores"`,
            float32 (T, P), or `None` if no blocks are pruned; `"grid"`, rows
            and columns of the P blocks; `"groups"`, int32 (T, N), the first
            of the patches that each patch was merged with, itself if it was
            not, or `None` if none are merged; `"patch_grid"`, rows and
            columns of the N patches. Frames of which several lie in a
            block (Qwen3-VL) have the same. Where blocks do not fill the grid
            of patches, draw `keras_stts.ops.spread_to_patches(kept[None],
            window, (side, side))[0]`: those at the rim are smaller.

        Example:
        ```python
        clips = keras_stts.datasets.shapes.generate("clips", "test", 1)
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        seen = model.kept_blocks(clips[0]["video"])
        keras_stts.visualize.plot_kept(**seen)
        ```
        """
        return kept_of(self, video, fps)


def _check_alike(inputs, batch_size):
    """Raise if the processes of a job would answer other numbers of batches,
    so that some would wait for ever."""
    if not distributing.are_joint() or not isinstance(inputs, dict):
        return
    size, _ = arrays.batch_shape(inputs, math.inf)
    rows = batch_size if is_int(batch_size, 1, math.inf) else size
    numbers = [n for (n,) in jobs.of_all(-(-size // rows))]
    if len(set(numbers)) > 1:
        raise ValueError(
            "All processes of a job answer at the same time, so each needs as "
            f"many batches of questions. Received: {numbers} batches. Give "
            "each process as many questions, or pass no `batch_size`."
        )


def _stop_where(full, logits, stop_token_id):
    """Logits (B, V) that leave rows, bool (B,), nothing but a stop token."""
    stop = ops.one_hot(stop_token_id, logits.shape[-1], dtype=logits.dtype)
    return ops.where(ops.expand_dims(full, -1), 3e4 * stop, logits)


def _until_stop(token_ids, padding_mask, stop_token_ids):
    """Bool (B, S'): the prompt and what was generated, to the first stop."""
    if stop_token_ids is None:
        return ops.ones_like(token_ids, dtype="bool")
    stops = hub.any_equal(
        token_ids, stop_token_ids, ops.logical_not(padding_mask)
    )
    stops = ops.cast(stops, "int32")
    after = ops.cumsum(stops, axis=-1) - stops
    return ops.logical_not(ops.cast(after, "bool"))
