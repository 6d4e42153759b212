"""Turns the data for `fit`, `evaluate` and `predict` into batches."""

import inspect

import keras

from keras_stts.data.dataset import VideoDataset
from keras_stts.data.formats import as_tf_dataset
from keras_stts.preprocessing import input_checks
from keras_stts.training import arrays
from keras_stts.training import distributing
from keras_stts.training import padding


def prepare(model, data, batch_size=None, *, shuffle=False, labelled=False):
    """Turn a user's data into a dataset that Keras iterates over.

    Args:
        model: A `VideoVLM`.
        data: Tuple (x, y, sample_weight), the last two optional.
        batch_size: Optional int.
        shuffle: Bool. Whether examples of a dict change order each epoch.
        labelled: Bool. Whether there must be responses, or labels.

    Returns:
        A dataset of preprocessed batches.

    Raises:
        ValueError: If the model cannot run on the devices that are set; or if
            the data are of an unknown kind, lack labels that are needed, or
            have labels or weights that would be ignored.
    """
    distributing.check_devices(model)
    x, y, sample_weight = (*data, None, None)[:3]
    if not isinstance(x, dict) and not (y is None and sample_weight is None):
        raise ValueError(
            "`y` and `sample_weight` belong to a dict; a dataset and a "
            "generator give them in their batches, as tuples (x, y, "
            f"sample_weight). Received: {type(x).__name__} and "
            f"{'`y`' if sample_weight is None else '`sample_weight`'}."
        )
    if isinstance(x, VideoDataset) and keras.config.backend() == "tensorflow":
        return as_tf_dataset(x)
    if isinstance(x, keras.utils.PyDataset):
        return PreprocessedDataset(model, x, labelled=labelled)
    parts = distributing.replicas()

    def preprocess(batch):
        return preprocess_batch(model, batch, labelled=labelled, parts=parts)

    if inspect.isgenerator(x):
        return (preprocess(batch) for batch in x)
    if hasattr(x, "element_spec"):  # A tf.data.Dataset.
        return _prepare_tf_data(model, x, labelled)
    if _is_grain(x):
        return x.map(preprocess)
    if not isinstance(x, dict):
        raise ValueError(
            'The data must be a dict (of "videos", "prompts" and "responses", '
            "or of preprocessed inputs), a `tf.data.Dataset`, a "
            "`keras.utils.PyDataset`, a Grain dataset or a generator. "
            f"Received: {type(x).__name__}."
        )
    data = (x, y, sample_weight)
    batches = arrays.ArrayDataset(data, batch_size or 32, shuffle=shuffle)
    return PreprocessedDataset(model, batches, labelled=labelled)


def _is_grain(x):
    return any(cls.__module__.startswith("grain.") for cls in type(x).__mro__)


def _prepare_tf_data(model, dataset, labelled):
    import tensorflow as tf

    parts = distributing.replicas()
    spec = dataset.element_spec
    spec = spec if isinstance(spec, tuple) else (spec,)
    x, y = (*spec, None)[:2]
    _check_kind(model, x, y, labelled)
    if not is_preprocessed(x):
        dataset = dataset.map(
            lambda *batch: model.preprocessor(*batch),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    elif parts == 1:
        return dataset
    if parts > 1:
        dataset = dataset.map(
            lambda *batch: _fill_up_tensors(model, batch, parts)
        )
    return dataset.prefetch(tf.data.AUTOTUNE)


def _fill_up_tensors(model, batch, parts):
    """Like `padding.fill_up`, in a `tf.data.Dataset`."""
    import tensorflow as tf

    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if y is not None and weight is None:
        batch = (x, y, tf.ones_like(y, "float32"))
    flat = tf.nest.flatten(batch)

    def fill_up(*values):
        batch_of = tf.nest.pack_sequence_as(batch, values)
        return tf.nest.flatten(padding.fill_up(model, batch_of, parts))

    full = tf.numpy_function(fill_up, flat, [part.dtype for part in flat])
    for part, given in zip(full, flat):
        part.set_shape((None, *given.shape[1:]))
    return tf.nest.pack_sequence_as(batch, full)


def is_preprocessed(x):
    return isinstance(x, dict) and "token_ids" in x


def preprocess_batch(model, batch, *, labelled=False, parts=None):
    """A batch for the model, preprocessed unless it was before.

    Args:
        model: A `VideoVLM`.
        batch: x, or a tuple (x, y) or (x, y, sample_weight).
        labelled: Bool. Whether there must be responses, or labels.
        parts: Int, see `padding.fill_up`.

    Raises:
        ValueError: If the batch does not fit the model.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    _check_kind(model, x, y, labelled)
    if is_preprocessed(x):
        input_checks.check_inputs(model.backbone, x)
        batch = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    else:
        batch = model.preprocessor(x, y, sample_weight)
    return padding.fill_up(model, batch, parts)


def _check_kind(model, x, y, labelled):
    """Raise if raw data have no preprocessor, or data have wrong labels."""
    if is_preprocessed(x):
        if labelled and y is None:
            raise ValueError(
                "Preprocessed inputs need labels `y`, and `sample_weight` to "
                "say which of them count. Received: y=None."
            )
        return
    if model.preprocessor is None:
        raise ValueError(
            "A model without preprocessor takes preprocessed inputs, a dict "
            f"of {', '.join(model.backbone.input)}. Load the model with its "
            "tokenizer, or set `model.preprocessor`."
        )
    if labelled and isinstance(x, dict) and "responses" not in x:
        raise ValueError(
            'Training and evaluation need "responses" beside "videos" and '
            f'"prompts". Received: {sorted(x)}.'
        )


class PreprocessedDataset(keras.utils.PyDataset):
    """Preprocesses the batches of another `keras.utils.PyDataset`."""

    def __init__(self, model, dataset, *, labelled=False):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self.model = model
        self.dataset = dataset
        self.labelled = labelled
        self.parts = distributing.replicas()

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, index):
        batch = self.dataset[index]
        return preprocess_batch(
            self.model, batch, labelled=self.labelled, parts=self.parts
        )

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


def set_apart(model, data, validation_data, share, batch_size):
    """Separate training data and validation data.

    Args:
        model: A `VideoVLM`.
        data: Tuple (x, y, sample_weight).
        validation_data: `fit`'s argument of this name, or `None`.
        share: Optional float. Share of `data` to split off for validation, if
            `validation_data` is `None`.
        batch_size: Optional int.

    Returns:
        Tuple (training data, validation batches or `None`).
    """
    if share and validation_data is None:
        data, validation_data = arrays.split(data, share)
    if validation_data is None:
        return data, None
    if not isinstance(validation_data, tuple):
        validation_data = (validation_data,)
    batches = prepare(model, validation_data, batch_size, labelled=True)
    return data, batches
