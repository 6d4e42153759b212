import math

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts._collection import cheap_collection
from keras_stts.callbacks import Backup
from keras_stts.callbacks import DataProgress
from keras_stts.data.dataset import VideoDataset
from keras_stts.flops import count_flops
from keras_stts.layers import AuxiliaryLoss
from keras_stts.layers.initializers import normal_initializer
from keras_stts.memory import asking as memory
from keras_stts.memory import foresight
from keras_stts.models import attention_trace
from keras_stts.models import cuda_graphs
from keras_stts.models.backbone_bounds import is_int
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.optimizers import PartwiseAdamW
from keras_stts.optimizers import default_learning_rate
from keras_stts.preprocessing.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.preprocessing.video_vlm_video_converter import (
    VideoVLMVideoConverter,
)
from keras_stts.presets import configs as preset_configs
from keras_stts.presets import files as preset_files
from keras_stts.presets import saving as preset_saving
from keras_stts.presets.built_in import PRESETS
from keras_stts.presets.keras_format import naming
from keras_stts.presets.keras_format import reading_weights
from keras_stts.presets.load_task import backbone_config
from keras_stts.presets.load_task import load_task
from keras_stts.presets.model_card import write_model_card
from keras_stts.presets.preset_mixin import argument_names
from keras_stts.presets.preset_mixin import check_arguments
from keras_stts.presets.preset_mixin import is_molmo2
from keras_stts.presets.preset_mixin import preset_config
from keras_stts.presets.preset_mixin import resolve_preset
from keras_stts.pruning import split
from keras_stts.training import distributing
from keras_stts.training import inputs as model_inputs
from keras_stts.training import layouts
from keras_stts.training import lora
from keras_stts.training import padding
from keras_stts.training import text_loss
from keras_stts.training import tf_steps
from keras_stts.training.parts import check_parts
from keras_stts.training.parts import set_trainable_parts

QUANTIZED = (keras.layers.Dense, keras.layers.Embedding)


@keras.saving.register_keras_serializable(package="keras_stts")
class VideoVLM(keras_hub.models.CausalLM):
    """Answers questions about videos, on half of their tokens.

    Args:
        backbone: A `keras_stts.VideoVLMBackbone`.
        preprocessor: A `keras_stts.VideoVLMPreprocessor`, or `None` to give
            the model preprocessed inputs.
        aux_coefficient: Float, schedule or `None`. Weight of the temporal
            auxiliary loss, see `keras_stts.layers.AuxiliaryLoss`. Defaults to
            `0.5`. The metric `aux_loss` is that loss without weight, the mean
            over all real frames but the first of each video, whatever the
            size of batches; after `fit` and `evaluate` it is
            `model.auxiliary_loss.value`, too.
        stop_gradient_target: Bool, see `keras_stts.layers.AuxiliaryLoss`.
        trainable_parts: Optional list of `"scorer"`, `"vision_encoder"`,
            `"connector"` and `"language_model"`: what is trained, the rest
            is frozen. Defaults to all.
        head_dtype: Optional dtype policy of the output head. Defaults to the
            backbone's.
        sampler: Str or `keras_hub.samplers.Sampler`. What `generate` draws
            tokens with unless `compile(sampler=...)` says so. Defaults to
            `"top_k"`, the five likeliest.
        max_new_tokens: Optional int. Most tokens of an answer. Defaults to
            what `max_length` of `generate` leaves room for.

    Raises:
        ValueError: If the preprocessor makes other inputs than the backbone
            takes.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    clip = keras_stts.datasets.shapes.render("test", 0)
    question = clip.questions[0]["question"]
    model.generate({"videos": [clip.frames], "prompts": [question]})

    model.fit(
        {
            "videos": [clip.frames],
            "prompts": [question],
            "responses": [clip.questions[0]["answer"]],
        },
        batch_size=1,
    )
    ```

    References:
        STTS (arXiv 2603.18004), Molmo2 (arXiv 2601.10611).
    """

    backbone_cls = VideoVLMBackbone
    preprocessor_cls = VideoVLMPreprocessor
    presets = PRESETS
    takes_chunks = False  # Of logits, in training and testing.

    def __init__(
        self,
        backbone,
        preprocessor=None,
        aux_coefficient=0.5,
        stop_gradient_target=False,
        trainable_parts=None,
        head_dtype=None,
        sampler="top_k",
        max_new_tokens=None,
        **kwargs,
    ):
        _check_preprocessor(backbone, preprocessor)
        _check_max_new_tokens(max_new_tokens)
        if trainable_parts is not None:
            check_parts(trainable_parts)
            trainable_parts = list(trainable_parts)

        # The model is compiled as soon as it is made.
        self.default_sampler = sampler
        self.max_new_tokens = max_new_tokens

        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.lm_head = keras.layers.Dense(
            backbone.vocabulary_size,
            use_bias=False,
            kernel_initializer=normal_initializer(),
            dtype=head_dtype or backbone.dtype_policy,
            name="lm_head",
        )

        # === Functional Model ===
        inputs = backbone.input
        auxiliary_loss = _make_auxiliary_loss(
            backbone, aux_coefficient, stop_gradient_target
        )
        hidden = _run_backbone(backbone, auxiliary_loss, inputs)
        with layouts.sizes_known(backbone.get_config()):
            logits = self.lm_head(hidden)
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

        # === Config ===
        self.aux_coefficient = aux_coefficient
        self.stop_gradient_target = stop_gradient_target
        self.auxiliary_loss = auxiliary_loss
        if auxiliary_loss is not None:
            self.aux_tracker = keras.metrics.Mean(name="aux_loss")
        self.trainable_parts = trainable_parts
        if trainable_parts is not None:
            set_trainable_parts(self, trainable_parts)

    @classmethod
    def from_preset(
        cls, preset, load_weights=True, distribution=None, **kwargs
    ):
        """Load a model, its weights and its preprocessor.

        Args:
            preset: Str. A built-in name (see `presets`), a handle such as
                `"hf://org/model"`, or a local directory in Keras or Molmo2
                format.
            load_weights: Bool. `False` leaves the weights random.
            distribution: What of the model and of a batch lies on which
                device, under JAX: `"data"`, all weights on each; `"fsdp"`,
                the weights cut over all devices; `"auto"`, the former if the
                weights take at most half of a device's memory, or else the
                latter; or a `keras.distribution.Distribution`. It is set as
                `keras.distribution.set_distribution` does, and holds for
                what follows. Defaults to what is set.
            **kwargs: Arguments of `VideoVLM`, `VideoVLMBackbone`,
                `VideoVLMPreprocessor` or `VideoVLMVideoConverter` to change,
                such as `prune_ratio`, `num_frames` or `dtype`. None of them
                changes what weights there are. `pruning` replaces all that
                the preset prunes with, inside the language model too.

        Files of Molmo2's authors and of transformers say how videos are
        sampled, what a prompt looks like and how answers are drawn, and are
        followed; `num_frames=` and `sampling=` change the sampling. The
        published processor is run with up to 384 frames. With Molmo2-4B a
        video then takes 165 MB of pixels, a vision part of 34,945 tokens (it
        was made for 36,864), 5.2 GB of keys and values in bfloat16 (2.9 at
        `prune_ratio=0.5`), and 1,192 TFLOP of `model.flops()` (508), twelve
        times those of 64 frames; pass `num_frames=64` where that is too much.

        Raises:
            FileNotFoundError: If the preset lacks a file, such as those of a
                preprocessor that it was saved with.
            ValueError: If the preset is unknown, one of its files is damaged,
                hostile or not its own, `pruning` and `prune_ratio`
                contradict each other, or there is no such distribution.
            TypeError: If an argument is unknown.
        """
        defaults = preset_config(preset)
        preset = resolve_preset(preset)
        if "backbone" not in kwargs:
            if "pruning" in kwargs:
                _check_pruning(preset, defaults, **kwargs)
                kwargs.setdefault("language_pruning", None)
            kwargs = {**defaults, **kwargs}
        takers = _takers(cls, kwargs)
        check_arguments(kwargs, set().union(*takers.values()))
        arguments = {
            part: {n: kwargs[n] for n in kwargs if n in names}
            for part, names in takers.items()
        }
        if distribution is not None and "backbone" in kwargs:
            raise ValueError(
                "Weights are spread over devices when they are made. Received: "
                f"distribution={distribution!r} and a `backbone`. Pass "
                "`distribution` to where the backbone is made, or set it by "
                "`keras.distribution.set_distribution` before."
            )

        def config():
            return backbone_config(preset, arguments["backbone"])

        with preset_files.loading():
            spread = distributing.distributed(distribution, config)
            with spread, naming(preset):
                return load_task(cls, preset, load_weights, **arguments)

    def call(self, inputs, training=None, mask=None):
        labels = text_loss.current_labels()
        if labels is None:
            return super().call(inputs, training=training, mask=mask)
        hidden = _run_backbone(
            self.backbone, self.auxiliary_loss, inputs, training=training
        )
        size = self._tokens_at_once(labels)
        return text_loss.losses_and_hits(hidden, labels, self.lm_head, size)

    def _tokens_at_once(self, labels):
        vocabulary_size = self.backbone.vocabulary_size
        return text_loss.chunk_length(labels.shape, vocabulary_size)

    def _in_chunks(self, data):
        """A scope for a step in which there are never all logits at once."""
        labels = keras.utils.unpack_x_y_sample_weight(data)[1]
        if not self.takes_chunks or labels is None or len(labels.shape) != 2:
            return text_loss.labelled(None)
        if not isinstance(labels.shape[1], int):
            return text_loss.labelled(None)
        fits = self._tokens_at_once(labels) == labels.shape[1]
        return text_loss.labelled(None if fits else labels)

    def train_step(self, *args):
        with self._in_chunks(args[-1]):
            return super().train_step(*args)

    def test_step(self, *args):
        with self._in_chunks(args[-1]):
            return super().test_step(*args)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return model_inputs.preprocess_batch(self, (x, y, sample_weight))

    def compile(self, optimizer="auto", loss="auto", **kwargs):
        """See `keras_hub.models.CausalLM.compile`.

        The default loss is the mean over the tokens that count, the
        responses'; so the auxiliary loss weighs the same beside it however
        much of the sequence is prompt or padding. The default optimizer is
        the paper's, `keras_stts.optimizers.PartwiseAdamW`, with a larger
        rate for models narrower than the published ones: see
        `keras_stts.optimizers.default_learning_rate`. The default sampler is
        the model's.

        Raises:
            ValueError: If the optimizer cannot train weights of this dtype,
                or there is no such sampler.
        """
        if optimizer == "auto":
            rate = default_learning_rate(self.backbone.hidden_dim)
            optimizer = PartwiseAdamW(rate)
        optimizer = keras.optimizers.get(optimizer)
        _check_optimizer(optimizer, self.trainable_variables)
        if loss == "auto":
            loss = text_loss.TextCrossentropy()
        if kwargs.get("weighted_metrics", "auto") == "auto":
            kwargs["weighted_metrics"] = [text_loss.TextAccuracy()]
        # Another one may need the logits.
        self.takes_chunks = (
            isinstance(loss, text_loss.TextCrossentropy)
            and not kwargs.get("metrics")
            and all(
                isinstance(metric, text_loss.TextAccuracy)
                for metric in kwargs["weighted_metrics"] or ()
            )
        )
        kwargs.setdefault("sampler", self.default_sampler)
        _check_sampler(kwargs["sampler"])
        cuda_graphs.release(self)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        if self.auxiliary_loss is not None:
            # So the mean of all batches does not depend on their size.
            value, weight = self.auxiliary_loss.last
            self.aux_tracker.update_state(value, sample_weight=weight)
        return loss

    def _update_metrics_variables(self, variables, loss, x, *args, **kwargs):
        # Under JAX: the mean of losses weighs each batch by its rows.
        x = padding.Counted(x) if distributing.replicas() > 1 else x
        return super()._update_metrics_variables(
            variables, loss, x, *args, **kwargs
        )

    def predict_step(self, *args):
        results = super().predict_step(*args)
        if distributing.replicas() == 1:
            return results
        x, _, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        logits, state = results
        return (logits, padding.real_rows(x)), state

    def _keep_auxiliary_loss(self):
        """Put a number in the place of what a train or test step traced."""
        if self.auxiliary_loss is not None:
            self.auxiliary_loss.value = self.aux_tracker.result()
            self.auxiliary_loss.last = (None, None)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        sample_weight=None,
        validation_data=None,
        validation_split=None,
        shuffle=True,
        validation_batch_size=None,
        epochs=1,
        initial_epoch=0,
        callbacks=None,
        **kwargs,
    ):
        """Train on raw or preprocessed videos; see `keras.Model.fit`.

        Args:
            x: A dict of `"videos"` (list of paths and of uint8 arrays of any
                length, or one array), `"prompts"` and `"responses"`, in each
                of which a list of samples is a row of `num_segments` at most;
                or a dict of preprocessed inputs, with `y` and
                `sample_weight`; or a `tf.data.Dataset`, a
                `keras.utils.PyDataset`, a Grain dataset or a generator of
                batches of either.
            y: Labels of preprocessed inputs.
            batch_size: Int. Defaults to 32.
            sample_weight: Of preprocessed inputs, the weight of each label.
                Beside raw videos, a number for each example, by which the
                tokens of its response count.
            validation_data: A tuple, or as `x`.
            validation_split: Float. Share of a dict's examples, the last, to
                validate on.
            shuffle: Bool. Whether a dict's examples change order each epoch.
            validation_batch_size: Int. Defaults to `batch_size`.
            epochs: Int.
            initial_epoch: Int. With a `keras_stts.callbacks.Backup` the
                backup says where to begin.
            callbacks: List of callbacks.
            **kwargs: See `keras.Model.fit`.

        Raises:
            ValueError: If the data are of no known kind, do not fit the
                model, or lack responses; or `class_weight` is given.

        Warns if the device has less memory than `memory` counts; the
        environment variable `KERAS_STTS_MEMORY_LIMIT`, such as `16GiB`, says
        how much there is to be.
        """
        distributing.check_devices(self)
        if kwargs.pop("class_weight", None) is not None:
            raise ValueError(
                "`class_weight` weighs examples by the one class each is of, "
                "and a response is many tokens. Received: a `class_weight`. "
                "Pass `sample_weight`, a number for each example."
            )
        (x, y, sample_weight), validation_data = model_inputs.set_apart(
            self,
            (x, y, sample_weight),
            validation_data,
            validation_split,
            validation_batch_size or batch_size,
        )
        cuda_graphs.release(self)
        foresight.before_fit(self, *model_inputs.batch_shape(x, batch_size))
        callbacks = keras.tree.flatten(callbacks or [])
        epoch, batch = _first_batch(self, callbacks, x, initial_epoch)
        if isinstance(x, VideoDataset):
            callbacks.insert(0, DataProgress(x, epoch, batch))
        # The examples of a dict are shuffled one by one, not in batches.
        batches = isinstance(x, keras.utils.PyDataset)
        batches = batches and not isinstance(x, VideoDataset)

        def run(initial_epoch, epochs):
            dataset = model_inputs.prepare(
                self, (x, y, sample_weight), batch_size, shuffle, labelled=True
            )
            history = keras.Model.fit(
                self,
                dataset,
                validation_data=validation_data,
                shuffle=shuffle and batches,
                initial_epoch=initial_epoch,
                epochs=epochs,
                callbacks=callbacks,
                **kwargs,
            )
            self._keep_auxiliary_loss()
            return history

        with model_inputs.keep_variables(self):
            if not batch:
                return run(min(epoch, epochs), epochs)
            # Its number of batches is another one than that of the rest.
            first = run(epoch, epoch + 1)
            if self.stop_training or epoch + 1 >= epochs:
                return first
            return _join(first, run(epoch + 1, epochs))

    def make_train_function(self, force=False):
        if not tf_steps.knows_shapes(self):
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = tf_steps.on_iterator(self, self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if not tf_steps.knows_shapes(self):
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = tf_steps.on_iterator(self, self.test_step)
        return self.test_function

    def make_predict_function(self, force=False):
        if not tf_steps.knows_shapes(self):
            return super().make_predict_function(force)
        if self.predict_function is None or force:
            step = self.predict_step
            self.predict_function = tf_steps.on_batches(self, step)
        return self.predict_function

    def evaluate(
        self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs
    ):
        """Loss and metrics of raw or preprocessed videos; see `fit`."""
        if not kwargs.get("_use_cached_eval_dataset"):
            data = (x, y, sample_weight)
            x = model_inputs.prepare(self, data, batch_size, labelled=True)
        with model_inputs.keep_variables(self):
            results = keras.Model.evaluate(self, x, **kwargs)
        self._keep_auxiliary_loss()
        return results

    def predict(self, x, batch_size=None, **kwargs):
        """Logits (B, S', V) of the text part; see `fit` for `x`."""
        x = model_inputs.prepare(self, (x,), batch_size)
        with model_inputs.keep_variables(self):
            results = keras.Model.predict(self, x, **kwargs)
        if distributing.replicas() == 1:
            return results
        logits, real = results
        return logits[real]

    def generate(
        self, inputs, max_length=None, stop_token_ids="auto", strip_prompt=True
    ):
        """Answer questions about videos.

        Tokens are drawn from the five likeliest, KerasHub's default, so
        answers vary; `compile(sampler="greedy")` takes the likeliest. A model
        loaded from files of transformers draws as their
        `generation_config.json` says, by default the likeliest.

        Args:
            inputs: Dict of `"videos"` and `"prompts"`, lists of the same
                length, or one video and one str.
            max_length: Int. Tokens of prompt, template and answer together.
                Defaults to the preprocessor's `sequence_length`.
            stop_token_ids: See `keras_hub.models.CausalLM.generate`. By
                default the preprocessor's.
            strip_prompt: Bool. Whether to leave the prompt out. Defaults to
                `True`.

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
        if isinstance(inputs, dict):
            rows, length = model_inputs.batch_shape(inputs, math.inf)
            foresight.before_generate(self, rows, max_length or length)
        if self.preprocessor is not None and stop_token_ids == "auto":
            stop_token_ids = list(self.preprocessor.stop_token_ids)
        with distributing.alone() as self._distribution:
            return super().generate(
                inputs,
                max_length=max_length,
                stop_token_ids=stop_token_ids,
                strip_prompt=strip_prompt,
            )

    def make_generate_function(self):
        function = super().make_generate_function()
        distribution = getattr(self, "_distribution", None)
        if distribution is None:
            return function

        def generate(inputs, stop_token_ids=None):
            with distribution.scope():
                whole, size = padding.spread(self.backbone, inputs)
                outputs = function(whole, stop_token_ids)
                return padding.gather(outputs, size)

        return generate

    def _normalize_generate_inputs(self, inputs):
        if not isinstance(inputs, dict):
            return super()._normalize_generate_inputs(inputs)
        if self.preprocessor is None:
            model_inputs.check_inputs(self.backbone, inputs)
            model_inputs.check_alone(inputs)
            return [inputs], False
        single = isinstance(inputs.get("prompts"), (str, bytes))
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
        prefill = cuda_graphs.program(self, "prefill", self.prefill)
        state = prefill(inputs)
        return self.generate_after_prefill(inputs, state, stop_token_ids)

    def generate_after_prefill(self, inputs, state, stop_token_ids=None):
        """Generate after `prefill`; see `generate_step`.

        Args:
            inputs: Dict of the model's inputs.
            state: What `prefill` returned.
            stop_token_ids: Tuple of ints, or `None`.
        """
        token_ids, padding_mask = inputs["token_ids"], inputs["padding_mask"]
        padding_mask = ops.cast(padding_mask, "bool")
        hidden, prefix, cache = state
        row_lengths = ops.sum(ops.cast(padding_mask, "int32"), axis=-1)
        decode = cuda_graphs.program(self, "decode", self.decode_token)

        def next(prompt, cache, index):
            place = index - 1
            batch_size = ops.shape(prompt)[0]
            token = ops.slice(prompt, [0, place], [batch_size, 1])
            logits, hidden, cache = decode(token, place, cache, still=prefix)
            if self.max_new_tokens is not None and stop_token_ids:
                full = index - row_lengths >= self.max_new_tokens
                logits = _stop_where(full, logits, stop_token_ids[0])
            return logits, hidden, cache

        token_ids = self.sampler(
            next=next,
            prompt=token_ids,
            cache=cache,
            index=ops.min(row_lengths),
            mask=padding_mask,
            stop_token_ids=stop_token_ids,
            hidden_states=hidden,
            model=self,
        )
        return {
            "token_ids": token_ids,
            "padding_mask": _until_stop(
                token_ids, padding_mask, stop_token_ids
            ),
        }

    def decode_token(self, token_ids, index, cache, still):
        """Run one more token of each text.

        Args:
            token_ids: Int tensor (B, 1).
            index: Int scalar tensor, where in the texts they stand.
            cache: What `prefill` or `decode_token` returned.
            still: The prefix that `prefill` returned.

        Returns:
            Tuple (logits (B, V), hidden states (B, D), cache).
        """
        hidden, cache = self.backbone.decode(
            token_ids, still, cache=cache, index=index
        )
        logits = ops.squeeze(self.lm_head(hidden), axis=1)
        return logits, ops.squeeze(hidden, axis=1), cache

    def prefill(self, inputs):
        """Run videos and prompts.

        Args:
            inputs: Dict of the model's inputs.

        Returns:
            Tuple (hidden states of the text part (B, S', D), prefix, cache),
            the latter two as `VideoVLMBackbone.decode` takes them.
        """
        backbone = self.backbone
        vision = backbone.encode_vision(inputs)
        return backbone.encode(inputs, vision)

    def kept_blocks(self, video, fps=None):
        """What is kept of one video, for `keras_stts.visualize`.

        Args:
            video: A path or a uint8 array (T, H, W, 3).
            fps: Optional number, frames a second of an array.

        Returns:
            Dict of `"frames"`, uint8 (T, H, W, 3), those that the model sees,
            of the video's own size;
            `"timestamps"`, seconds (T,); `"kept"`, bool (T, P); `"scores"`,
            float32 (T, P), or `None` if no blocks are pruned. Where blocks do
            not fill the grid of patches, draw `keras_stts.ops.
            spread_to_patches(kept[None], window, (side, side))[0]`: those at
            the rim are smaller.
        """
        if self.preprocessor is None:
            raise ValueError(
                "`kept_blocks` reads a video, for which the model needs its "
                "preprocessor. Received: a model with preprocessor=None."
            )
        converter = self.preprocessor.video_converter
        sampled = converter.read(video, fps)
        converted = converter([sampled])
        vision = self.backbone.encode_video(
            ops.convert_to_tensor(converted["videos"]),
            ops.convert_to_tensor(converted["frame_mask"]),
        )
        timestamps = converted["timestamps"][0]
        real = len(timestamps)
        kept, scores = np.ones((real, self.backbone.num_blocks), bool), None
        if "selection" in vision:
            kept = vision["selection"].kept[0, :real]
            scores = ops.convert_to_numpy(vision["scores"][0, :real])
        return {
            "frames": sampled.frames,
            "timestamps": timestamps,
            "kept": ops.convert_to_numpy(kept),
            "scores": scores,
        }

    def flops(
        self,
        num_frames=None,
        prune_ratio=None,
        text_length=None,
        layout="packed",
    ):
        """Count the operations of one video's prefill, or of a row of several.

        Args:
            num_frames: Int. Defaults to the model's.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int. Defaults to the preprocessor's
                `sequence_length`, or 64 without preprocessor.
            layout: `"packed"`, what this package runs, frames padded to
                groups; `"padded"`, the same with the lengths that kernels of
                this backend and device pad to, see `attention_report`; or
                `"ideal"`, a kernel without padding on frames that keep
                equally many patches.

        Returns:
            Dict of `"vision_encoder"`, `"scorer"` (counted in it too),
            `"connector"`, `"language_model"` and `"total"`, numbers of
            floating point operations. A train step costs three times that.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        whole = model.flops(prune_ratio=0)["total"]
        whole / model.flops(prune_ratio=0.5)["total"]  # 1.4 or so.
        ```
        """
        preprocessor, added = self.preprocessor, None
        if text_length is None:
            text_length = preprocessor.sequence_length if preprocessor else 64
        if layout == "padded":
            added = attention_trace.padding_flops(
                self, num_frames, prune_ratio, text_length
            )
        return count_flops(
            self.backbone,
            num_frames,
            prune_ratio,
            text_length,
            time_tokens=preprocessor.time_tokens if preprocessor else 8,
            layout=layout,
            padding=added,
        )

    def attention_report(
        self, num_frames=None, batch_size=1, prune_ratio=None, text_length=None
    ):
        """Say which kernel runs attention in which layers, without running.

        The model is traced with the settings of now
        (`keras_stts.config.set_attention`), backend and device: prefill and
        one step of decoding. Training runs the same kernels.

        Args:
            num_frames: Int. Defaults to the model's.
            batch_size: Int.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int. Defaults to the preprocessor's
                `sequence_length`, or 64 without preprocessor.

        Returns:
            A list that prints as a table, of a dict for layers that run
            alike: `"part"`, `"kind"` (`"frames"`, `"frames, score bias"`,
            `"packed"`, `"prefix"`, `"text"`, `"decode"` and others),
            `"layers"` (paths), `"kernel"`, `"runs"` (of a layer: `rows`,
            `queries`, `keys`, and the lengths `run_queries` and `run_keys`
            that these are padded to; one a group of packed frames) and
            `"reason"`, why another kernel runs than was to be expected, or
            `None`.

        Raises:
            ValueError: If an argument is none of these.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
        print(model.attention_report(num_frames=64))
        ```
        """
        return attention_trace.report_of(
            self, num_frames, batch_size, prune_ratio, text_length
        )

    def memory(
        self,
        num_frames=None,
        batch_size=1,
        prune_ratio=None,
        text_length=None,
        phase="fit",
        trainable=None,
        optimizer=None,
        dtype=None,
        quantization=None,
        rematerialize=None,
        chips=1,
        distribution="data",
        lora_rank=8,
        target_layer_names=None,
        device=None,
    ):
        """Count the memory that a batch takes, without running anything.

        Args:
            num_frames: Int. Defaults to the model's.
            batch_size: Int, of all chips together.
            prune_ratio: Float. Defaults to the model's.
            text_length: Int, tokens of the text part. Defaults to the
                preprocessor's `sequence_length`, or 64 without preprocessor.
            phase: `"fit"`, `"evaluate"`, `"prefill"`, `"decode"` or
                `"generate"` (both of these).
            trainable: What is trained: `"all"`, `"none"`, `"lora"` (factors
                and scorer), a part (`"scorer"`, `"vision_encoder"`,
                `"connector"`, `"language_model"`) or a list of parts.
                Defaults to what is trainable now.
            optimizer: An optimizer, its name, or how many values it keeps
                for each weight that is trained. Defaults to the compiled
                one, or AdamW, which keeps 2. With
                `gradient_accumulation_steps` it keeps one more.
            dtype: Str or dtype policy, such as `"mixed_bfloat16"`. Defaults
                to the model's.
            quantization: Optional `"int8"` or `"int4"`: what all weights but
                the scorer's would be quantized to.
            rematerialize: Bool. Defaults to the model's.
            chips: Int. The figures are those of each.
            distribution: What chips share: `"data"` (rows of the batch),
                `"model"` (weights, heads and widths) or `"fsdp"` (rows, and
                weights while they are not used).
            lora_rank: Int. Rank of factors that are not there yet.
            target_layer_names: Optional list of str, see `enable_lora`.
            device: `"gpu"` or `"tpu"`, whose compiler is asked about.
                Defaults to what is here, a GPU if there is none.

        Returns:
            A dict of bytes that prints as a table: `"weights"`,
            `"gradients"`, `"optimizer"`, `"activations"` (what the backward
            pass needs, and room to work), `"caches"`, `"logits"` and
            `"inputs"`, which make `"total"`; and of the same total by part,
            `"vision_encoder"`, `"scorer"`, `"connector"`, `"language_model"`
            and `"head"`. `.table` has both: part to kind to bytes.

        Raises:
            ValueError: If an argument is none of these.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        print(model.memory(num_frames=64, batch_size=8))
        model.memory(trainable="lora", rematerialize=True)["total"]
        ```
        """
        return memory.of_model(
            self,
            num_frames=num_frames,
            batch_size=batch_size,
            prune_ratio=prune_ratio,
            text_length=text_length,
            phase=phase,
            trainable=trainable,
            optimizer=optimizer,
            dtype=dtype,
            quantization=quantization,
            rematerialize=rematerialize,
            chips=chips,
            distribution=distribution,
            lora_rank=lora_rank,
            target_layer_names=target_layer_names,
            device=device,
        )

    @classmethod
    def memory_of(cls, preset, **kwargs):
        """Count the memory of a model that is not loaded.

        Args:
            preset: Str as `from_preset` takes it, of which the config alone
                is read; or a dict of the arguments of `VideoVLMBackbone`.
            **kwargs: Those of `memory`, and of `VideoVLMBackbone`. What is
                trained defaults to `"all"`, `dtype` to Keras' default.

        Returns:
            See `memory`.

        Example:
        ```python
        print(
            keras_stts.VideoVLM.memory_of(
                "shapes_tiny", trainable="scorer", dtype="bfloat16"
            )
        )
        ```
        """
        return memory.of_preset(preset, **kwargs)

    def enable_lora(self, rank, target_layer_names=None):
        """Train LoRA factors and the scorer only; the rest is frozen.

        Compile the model anew afterwards.

        Args:
            rank: Int. Rank of the factors.
            target_layer_names: Optional list of str, names of the layers that
                get factors; `"lm_head"` is the output head. Defaults to
                `["query", "value"]`, of vision encoder, connector and
                language model. The scorer is trained whole.

        Raises:
            ValueError: If no layer that can have factors has such a name.
        """
        encoder = self.backbone.vision_encoder
        names = target_layer_names or self.backbone.default_lora_layer_names()
        lora.enable(self, encoder.scorer, rank, names, encoder.uses_scorer)

    def save_lora_weights(self, filepath):
        """Save LoRA factors, the head's too, and the scorer.

        Args:
            filepath: Path that ends in `.lora.h5`.

        Raises:
            ValueError: If it ends otherwise, or the model has no factors.
            OSError: If it cannot be written, such as on a full disk. Then a
                file that was there is as it was.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
        model.enable_lora(4)
        model.save_lora_weights("tuned.lora.h5")  # After training it.
        model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
        model.load_lora_weights("tuned.lora.h5")
        ```
        """
        lora.save(self, self.backbone.vision_encoder.scorer, filepath)

    def load_lora_weights(self, filepath):
        """Load what `save_lora_weights` saved.

        Layers of a model without factors get those of the file; compile it
        anew to train on.

        Args:
            filepath: Path.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, refers to other files, or is of
                another model, or of other factors.
        """
        scorer = self.backbone.vision_encoder.scorer
        lora.load(self, scorer, filepath, self.enable_lora)

    def quantize(self, mode, filters=None, **kwargs):
        """Quantize all layers but the scorer, whose ranks decide what stays.

        Args:
            mode: Str, such as `"int8"` or `"int4"`; see
                `keras.Model.quantize`.
            filters: Optional regular expression, list of them or function of
                a layer: which layers. Defaults to all but the scorer's.
            **kwargs: See `keras.Model.quantize`.
        """
        if filters is None:

            def filters(layer):
                in_scorer = "scorer" in (layer.path or "").split("/")
                return isinstance(layer, QUANTIZED) and not in_scorer

        with cheap_collection():
            super().quantize(mode, filters=filters, **kwargs)

    def export_to_transformers(self, directory, max_shard_size=5_000_000_000):
        """Write the model as transformers' Molmo2 reads it.

        Its config, weights (float32, bfloat16 or float16, as the model has
        them), tokenizer and processor. The scorer is written under the names
        that STTS' authors published; transformers leaves it out, and prunes
        nothing.

        Args:
            directory: Path, made if need be.
            max_shard_size: Int. Bytes of weights that a file holds at most.

        What is there of an older preset is replaced in one go, when all is
        written. Other files are kept.

        Raises:
            ValueError: If the model lacks vision tokens that Molmo2 has.
            OSError: If it cannot be written, such as on a full disk. Then the
                older preset is still there.

        Example:
        ```python
        model = keras_stts.VideoVLM.from_preset("shapes_tiny")
        model.export_to_transformers("exported")
        again = keras_stts.VideoVLM.from_preset("exported", prune_ratio=0.5)
        ```
        """
        from keras_stts.formats.molmo2.export import export

        with preset_saving.replacing(directory, "molmo2") as part:
            export(self, part, max_shard_size)

    def save_to_preset(self, preset_dir, max_shard_size=10):
        """Save the model for `from_preset`, with a model card.

        What is there of an older preset is replaced in one go, when all is
        written: until then the disk holds both. Other files are kept.

        Args:
            preset_dir: Path, made if need be. A `README.md` in it that
                someone wrote is kept.
            max_shard_size: Number. GB of weights that a file holds at most.

        Raises:
            OSError: If it cannot be written, such as on a full disk. Then the
                older preset is still there.
        """
        with preset_saving.replacing(preset_dir, "task") as part:
            super().save_to_preset(str(part), max_shard_size=max_shard_size)
            write_model_card(self, part, preset_dir)

    def save_task_weights(self, filepath):
        """Save the weights that are not in the backbone; see KerasHub."""
        keras.saving.save_weights(
            self, filepath, objects_to_skip=self._objects_to_skip()
        )

    def load_task_weights(self, filepath):
        """Load what `save_task_weights` saved."""
        with reading_weights(filepath):
            keras.saving.load_weights(
                self, filepath, objects_to_skip=self._objects_to_skip()
            )

    def load_weights(self, filepath, **kwargs):
        """See `keras.Model.load_weights`; damaged files are named."""
        with reading_weights(filepath):
            super().load_weights(filepath, **kwargs)

    def _objects_to_skip(self):
        """What is saved elsewhere, or belongs to a training run alone."""
        run = [self.optimizer, *self.metrics] if self.compiled else []
        return [*self.backbone._flatten_layers(), *run]

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            config["sampler"] = keras_hub.samplers.serialize(self.sampler)
        return config

    def compile_from_config(self, config):
        config = dict(config)
        sampler = keras_hub.samplers.get(config.pop("sampler", "top_k"))
        config = keras.saving.deserialize_keras_object(config)
        self.compile(sampler=sampler, **config)
        self.optimizer.build(self.trainable_variables)

    def get_config(self):
        config = super().get_config()
        coefficient = self.aux_coefficient
        if callable(coefficient):
            coefficient = keras.saving.serialize_keras_object(coefficient)
        config.update(
            {
                "aux_coefficient": coefficient,
                "stop_gradient_target": self.stop_gradient_target,
                "trainable_parts": self.trainable_parts,
                "head_dtype": self._head_dtype(),
                "sampler": _serialized_sampler(self.default_sampler),
                "max_new_tokens": self.max_new_tokens,
            }
        )
        return config

    def _head_dtype(self):
        """The output head's policy, if it is not the backbone's."""
        if self.lm_head.quantization_mode is None:
            return None
        return keras.dtype_policies.serialize(self.lm_head.dtype_policy)

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("head_dtype"), dict):
            config["head_dtype"] = keras.dtype_policies.deserialize(
                config["head_dtype"]
            )
        if isinstance(config.get("sampler"), dict):
            config["sampler"] = keras_hub.samplers.get(config["sampler"])
        coefficient = config.get("aux_coefficient")
        if isinstance(coefficient, dict):
            config["aux_coefficient"] = keras.saving.deserialize_keras_object(
                coefficient
            )
        return super().from_config(config)


def _check_optimizer(optimizer, variables):
    """Raise if Keras' Adam would stand still.

    It computes 1 - beta_2 in the dtype of the weights, where 0.999 may be 1.
    """
    beta = getattr(optimizer, "beta_2", None)
    dtypes = {v.dtype for v in variables} & {"bfloat16", "float16"}
    stuck = [d for d in dtypes if float(ops.cast(beta or 0, d)) == 1.0]
    if stuck:
        raise ValueError(
            f"`beta_2` of the optimizer must be less than 1 in {stuck[0]}, "
            f"the dtype of the weights, or nothing is learnt. Received: "
            f"beta_2={beta}. Load the model with "
            'dtype="mixed_bfloat16", or use '
            "`keras_stts.optimizers.PartwiseAdamW`, whose `beta_2` is 0.95."
        )


def _run_backbone(backbone, auxiliary_loss, inputs, **kwargs):
    """Hidden states of the text part (B, S', D)."""
    outputs = backbone(inputs, **kwargs)
    hidden = outputs["hidden_states"]
    if auxiliary_loss is None:
        return hidden
    return auxiliary_loss(
        hidden,
        outputs["scores"],
        outputs["similarity"],
        inputs["frame_mask"],
        segments=inputs.get("frame_segments"),
    )


def _make_auxiliary_loss(backbone, coefficient, stop_gradient_target):
    """The layer, or `None` where there are no scores or no weight for it."""
    if not backbone.vision_encoder.uses_scorer or coefficient is None:
        return None
    return AuxiliaryLoss(
        coefficient,
        stop_gradient_target,
        dtype=backbone.dtype_policy,
        name="auxiliary_loss",
    )


def _check_max_new_tokens(number):
    if number is not None and number < 1:
        raise ValueError(
            "`max_new_tokens` must be at least 1, or None. Received: "
            f"max_new_tokens={number}."
        )


def _check_sampler(sampler):
    """KerasHub takes any str for a sampler, and fails at the first answer."""
    if not callable(keras_hub.samplers.get(sampler)):
        raise ValueError(
            "`sampler` must be the name of a sampler of KerasHub, such as "
            f'"greedy", or one itself. Received: sampler={sampler!r}.'
        )


def _serialized_sampler(sampler):
    if isinstance(sampler, str):
        return sampler
    return keras_hub.samplers.serialize(sampler)


def _stop_where(full, logits, stop_token_id):
    """Logits (B, V) that leave rows, bool (B,), nothing but a stop token."""
    stop = ops.one_hot(stop_token_id, logits.shape[-1], dtype=logits.dtype)
    return ops.where(ops.expand_dims(full, -1), 3e4 * stop, logits)


def _first_batch(model, callbacks, data, initial_epoch):
    """Tuple (epoch, batch) at which training begins: after a backup, if any."""
    backups = [c for c in callbacks if isinstance(c, Backup)]
    if not backups:
        return initial_epoch, 0
    if not isinstance(data, VideoDataset):
        raise ValueError(
            "`keras_stts.callbacks.Backup` needs data whose place it can "
            "keep, a `keras_stts.data.VideoDataset`. Received: "
            f"{type(data).__name__}."
        )
    return backups[0].restore(model, data)


def _join(first, second):
    """The `History` of two runs, one after the other."""
    second.epoch = first.epoch + second.epoch
    for name, values in second.history.items():
        second.history[name] = first.history.get(name, []) + values
    return second


def _check_preprocessor(backbone, preprocessor):
    """Raise if a preprocessor makes other inputs than the backbone takes."""
    if not isinstance(preprocessor, VideoVLMPreprocessor):
        return
    size = (backbone.image_size, backbone.image_size)
    names = ("num_frames", "num_blocks", "num_segments")
    if backbone.num_images:
        names += ("num_images", "max_crops", "patch_size")
    wanted = {name: getattr(backbone, name) for name in names}
    given = {name: getattr(preprocessor, name) for name in names}
    wanted["prompt_mask"] = backbone.language_pruning is not None
    given["prompt_mask"] = preprocessor.prompt_mask
    wanted["image_size"] = size
    given["image_size"] = preprocessor.video_converter.image_size
    if wanted != given:
        raise ValueError(
            "Backbone and preprocessor must agree on "
            f"{', '.join(wanted)}. Received: {wanted} of the backbone, "
            f"{given} of the preprocessor and its video converter."
        )


def _takers(cls, kwargs):
    """Names of the arguments each part of a model takes from a preset.

    A part that is given ready made takes none.
    """
    takers = {
        "task": argument_names(cls) | {"name", "compile"},
        "backbone": argument_names(VideoVLMBackbone) | {"dtype"},
        "preprocessor": argument_names(VideoVLMPreprocessor),
        "converter": argument_names(VideoVLMVideoConverter),
    }
    if "backbone" in kwargs:
        takers["backbone"] = set()
    if "preprocessor" in kwargs:
        takers["preprocessor"] = takers["converter"] = set()
    if "video_converter" in kwargs:
        takers["converter"] = set()
    return takers


def _check_pruning(preset, defaults, pruning, prune_ratio=None, **_):
    """Raise if one of the arguments would silently do nothing."""
    method, _ = split(pruning)
    if method is None and prune_ratio:
        raise ValueError(
            "`prune_ratio` is the share of blocks that a method before the "
            "language model prunes; methods inside of it have a `ratio` of "
            f"their own. Received: pruning={pruning!r}, prune_ratio="
            f"{prune_ratio!r}. Leave `prune_ratio` out, or pass both methods: "
            '`pruning=["stts", ...]`.'
        )
    if method is None or prune_ratio is not None:
        return
    if "prune_ratio" not in defaults and not is_molmo2(preset):
        defaults = preset_configs.read(preset, hub.CONFIG_FILE)["config"]
    if defaults.get("prune_ratio") == 0:
        raise ValueError(
            "A preset whose prune_ratio is 0 prunes nothing until it is told "
            f"how much. Received: pruning={pruning!r}, no `prune_ratio`. Pass "
            "one, such as prune_ratio=0.5."
        )


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
