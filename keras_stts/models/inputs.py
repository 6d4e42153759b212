"""What `fit`, `evaluate` and `predict` are given, as batches for Keras."""

import inspect

import keras
import numpy as np


def prepare(model, data, batch_size=None, shuffle=False):
    """Make what a user passed into something that Keras iterates over.

    Args:
        model: A `VideoVLM`.
        data: Tuple (x, y, sample_weight), the last two optional.
        batch_size: Optional int.
        shuffle: Bool. Whether examples of a dict change order each epoch.

    Returns:
        A dataset of preprocessed batches.
    """
    x, y, sample_weight = (*data, None, None)[:3]
    if isinstance(x, keras.utils.PyDataset):
        return PreprocessedDataset(model, x)
    if inspect.isgenerator(x):
        return (preprocess_batch(model, batch) for batch in x)
    if hasattr(x, "element_spec"):  # A tf.data.Dataset.
        return _prepare_tf_data(model, x)
    if not isinstance(x, dict):
        raise ValueError(
            'The data must be a dict (of "videos", "prompts" and "responses", '
            "or of preprocessed inputs), a `tf.data.Dataset`, a "
            "`keras.utils.PyDataset` or a generator. Received: "
            f"{type(x).__name__}."
        )
    batches = ArrayDataset((x, y, sample_weight), batch_size or 32, shuffle)
    return PreprocessedDataset(model, batches)


def _prepare_tf_data(model, dataset):
    spec = dataset.element_spec
    x = spec[0] if isinstance(spec, tuple) else spec
    if is_preprocessed(x):
        return dataset
    _need_preprocessor(model)
    if isinstance(spec, tuple):
        dataset = dataset.map(lambda x, *rest: x)
    return dataset.map(lambda x: model.preprocessor(x))


def is_preprocessed(x):
    return isinstance(x, dict) and "token_ids" in x


def preprocess_batch(model, batch):
    """A batch as the model takes it, whether it was preprocessed or not."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    if is_preprocessed(x):
        check_placeholders(model, x)
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    _need_preprocessor(model)
    return model.preprocessor(x)


def _need_preprocessor(model):
    if model.preprocessor is None:
        raise ValueError(
            "A model without preprocessor takes preprocessed inputs, a dict "
            f"of {', '.join(model.backbone.input)}. Load the model with its "
            "tokenizer, or set `model.preprocessor`."
        )


def check_placeholders(model, x):
    """Check that preprocessed inputs have P placeholders a real frame.

    Raises:
        ValueError: If a video has more or fewer.
    """
    missing = sorted(set(model.backbone.input) - set(x))
    if missing:
        raise ValueError(
            "Preprocessed inputs must be complete. Received a dict without "
            f"{', '.join(missing)}."
        )
    backbone = model.backbone
    ids = np.asarray(keras.ops.convert_to_numpy(x["vision_token_ids"]))
    mask = np.asarray(keras.ops.convert_to_numpy(x["vision_mask"]), bool)
    frames = np.asarray(keras.ops.convert_to_numpy(x["frame_mask"]), bool)
    found = ((ids == backbone.image_patch_id) & mask).sum(-1)
    wanted = frames.sum(-1) * backbone.num_blocks
    if (found != wanted).any():
        raise ValueError(
            f"Each real frame needs {backbone.num_blocks} placeholders in "
            f"`vision_token_ids`. Received: {found.tolist()} placeholders for "
            f"{frames.sum(-1).tolist()} frames."
        )


class PreprocessedDataset(keras.utils.PyDataset):
    """Preprocesses the batches of another `keras.utils.PyDataset`."""

    def __init__(self, model, dataset):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self.model = model
        self.dataset = dataset

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, index):
        return preprocess_batch(self.model, self.dataset[index])

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


class ArrayDataset(keras.utils.PyDataset):
    """Batches of a tuple of dicts and arrays, or lists, of examples."""

    def __init__(self, data, batch_size, shuffle=False):
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.size = num_examples(data)
        self.order = np.arange(self.size)
        self.on_epoch_end()

    @property
    def num_batches(self):
        return -(-self.size // self.batch_size)

    def __getitem__(self, index):
        start = index * self.batch_size
        chosen = self.order[start : start + self.batch_size]
        return take(self.data, chosen)

    def on_epoch_end(self):
        if self.shuffle:
            self.order = np.random.permutation(self.size)


def num_examples(data):
    """How many examples a tuple (x, y, sample_weight) holds.

    Raises:
        ValueError: If its parts differ in length, or there is no example.
    """
    x, *rest = data
    parts = dict(x) | dict(zip(("y", "sample_weight"), rest))
    sizes = {
        name: len(value)
        for name, value in parts.items()
        if value is not None and hasattr(value, "__len__")
    }
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ValueError(
            "All parts of the data must have the same number of examples, at "
            f"least one. Received: {sizes}."
        )
    return next(iter(sizes.values()))


def take(data, chosen):
    """Some examples of a tuple of dicts and arrays or lists."""
    if isinstance(data, tuple):
        return tuple(take(part, chosen) for part in data)
    if isinstance(data, dict):
        return {name: take(part, chosen) for name, part in data.items()}
    if data is None or not hasattr(data, "__len__"):
        return data
    if isinstance(data, (list, tuple)):
        return [data[i] for i in chosen]
    return data[chosen]


def split(data, share):
    """Cut the last `share` of a dict's examples off, to validate on."""
    if not isinstance(data[0], dict):
        raise ValueError(
            "`validation_split` needs the examples as a dict. Received: "
            f"{type(data[0]).__name__}. Pass `validation_data`."
        )
    size = num_examples(data)
    cut = int(size * (1 - share))
    if not 0 < cut < size:
        raise ValueError(
            "`validation_split` must leave examples to train and to validate "
            f"on. Received: validation_split={share} of {size} examples."
        )
    return take(data, np.arange(cut)), take(data, np.arange(cut, size))
