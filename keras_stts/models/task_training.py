"""How a `VideoVLM` is compiled, trained, evaluated and asked for logits."""

import keras
import keras_hub
from keras import ops

from keras_stts.callbacks import Backup
from keras_stts.callbacks import DataProgress
from keras_stts.data.dataset import VideoDataset
from keras_stts.memory import foresight
from keras_stts.models import cuda_graphs
from keras_stts.models.encoding import frames_of
from keras_stts.optimizers import PartwiseAdamW
from keras_stts.optimizers import default_learning_rate
from keras_stts.training import arrays
from keras_stts.training import ddp
from keras_stts.training import distributing
from keras_stts.training import inputs as model_inputs
from keras_stts.training import mirrored
from keras_stts.training import padding
from keras_stts.training import text_loss
from keras_stts.training import tf_steps
from keras_stts.training.variables import keep_variables


class Training:
    """See `VideoVLM`."""

    # Whether training and testing make the logits of some tokens at a time.
    takes_chunks = False

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
        with mirrored.scope(self):
            self._compile(optimizer, loss, kwargs)

    def _compile(self, optimizer, loss, kwargs):
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

    def call(self, inputs, training=None, mask=None):
        inputs = dict(inputs)
        labels = inputs.pop(text_loss.LABELS, None)
        inputs.pop(text_loss.ROWS, None)
        if labels is None:
            return super().call(inputs, training=training, mask=mask)
        hidden = run_backbone(
            self.backbone, self.auxiliary_loss, inputs, training=training
        )
        size = self._tokens_at_once(labels)
        return text_loss.losses_and_hits(hidden, labels, self.lm_head, size)

    def _tokens_at_once(self, labels):
        vocabulary_size = self.backbone.vocabulary_size
        return text_loss.chunk_length(labels.shape, vocabulary_size)

    def _with_labels(self, data):
        """The batch of a step, with labels among the inputs if the step must
        not make all logits at once."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not self.takes_chunks or y is None or len(y.shape) != 2:
            return data
        if not isinstance(y.shape[1], int):
            return data
        if self._tokens_at_once(y) == y.shape[1]:
            return data
        return {**x, text_loss.LABELS: y}, y, sample_weight

    def _run_step(self, step, args):
        *state, data = args
        if not ddp.is_wrapped(self):
            return step(*state, self._with_labels(data))
        with ddp.sharing(data) as data:
            return step(*state, self._with_labels(data))

    def train_step(self, *args):
        return self._run_step(super().train_step, args)

    def test_step(self, *args):
        return self._run_step(super().test_step, args)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return model_inputs.preprocess_batch(self, (x, y, sample_weight))

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        y = y_pred if _has_labels(x) else y
        loss = super().compute_loss(x, y, y_pred, *args, **kwargs)
        if self.auxiliary_loss is not None:
            # So the mean of all batches does not depend on their size.
            value, weight = self.auxiliary_loss.last
            self.aux_tracker.update_state(value, sample_weight=weight)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y = y_pred if _has_labels(x) else y
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def counted_rows(self, x):
        return padding.Counted(x) if distributing.is_spread() else x

    def predict_step(self, *args):
        results = super().predict_step(*args)
        if not distributing.is_spread():
            return results
        x, _, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        logits, state = results
        return distributing.by_rows((logits, padding.real_rows(x))), state

    def _keep_auxiliary_loss(self):
        """Replace a traced tensor, which a step left here, by its number."""
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
        foresight.before_fit(self, *arrays.batch_shape(x, batch_size))
        callbacks = keras.tree.flatten(callbacks or [])
        with mirrored.scope(self):
            epoch, batch = _first_batch(self, callbacks, x, initial_epoch)
        if isinstance(x, VideoDataset):
            callbacks.insert(0, DataProgress(x, epoch, batch))
        # The examples of a dict are shuffled one by one, not in batches.
        batches = isinstance(x, keras.utils.PyDataset)
        batches = batches and not isinstance(x, VideoDataset)

        def run(initial_epoch, epochs):
            dataset = model_inputs.prepare(
                self,
                (x, y, sample_weight),
                batch_size,
                shuffle=shuffle,
                labelled=True,
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

        with keep_variables(self):
            if not batch:
                return run(min(epoch, epochs), epochs)
            # Its number of batches is another one than that of the rest.
            first = run(epoch, epoch + 1)
            if self.stop_training or epoch + 1 >= epochs:
                return first
            return _join(first, run(epoch + 1, epochs))

    @property
    def distribute_strategy(self):
        """TensorFlow's strategy that the model was made in."""
        return mirrored.WholeBatches(super().distribute_strategy)

    def make_train_function(self, force=False):
        if not tf_steps.are_wanted():
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = tf_steps.on_iterator(self, self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if not tf_steps.are_wanted():
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = tf_steps.on_iterator(self, self.test_step)
        return self.test_function

    def make_predict_function(self, force=False):
        if not tf_steps.are_wanted():
            if force or self.predict_function is None:
                super().make_predict_function(force)
                self.predict_function = distributing.of_own_rows(
                    self.predict_function
                )
            return self.predict_function
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
        with keep_variables(self):
            results = keras.Model.evaluate(self, x, **kwargs)
        self._keep_auxiliary_loss()
        return results

    def predict(self, x, batch_size=None, **kwargs):
        """Logits (B, S', V) of the text part; see `fit` for `x`."""
        x = model_inputs.prepare(self, (x,), batch_size)
        with keep_variables(self):
            results = keras.Model.predict(self, x, **kwargs)
        if not distributing.is_spread():
            return results
        logits, real = results
        return logits[real]

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
        with mirrored.scope(self):
            self.optimizer.build(self.trainable_variables)


def _has_labels(x):
    return isinstance(x, dict) and text_loss.LABELS in x


def _check_optimizer(optimizer, variables):
    """Raise if Keras' Adam could not learn in the dtype of the weights.

    It computes 1 - beta_2 in that dtype, in which 0.999 may be rounded to 1.
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


def _check_sampler(sampler):
    """Raise if there is no such sampler; KerasHub fails at the first answer."""
    if not callable(keras_hub.samplers.get(sampler)):
        raise ValueError(
            "`sampler` must be the name of a sampler of KerasHub, such as "
            f'"greedy", or one itself. Received: sampler={sampler!r}.'
        )


def _first_batch(model, callbacks, data, initial_epoch):
    """Tuple (epoch, batch) to begin at, that of a backup if there is one."""
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


def run_backbone(backbone, auxiliary_loss, inputs, **kwargs):
    """Hidden states of the text part (B, S', D)."""
    outputs = backbone(inputs, **kwargs)
    hidden = outputs["hidden_states"]
    if auxiliary_loss is None:
        return hidden
    frames = frames_of(inputs)
    return auxiliary_loss(
        hidden,
        outputs["scores"],
        outputs["similarity"],
        frames.mask,
        segments=frames.segments,
        frame_blocks=frames.num_blocks,
    )
