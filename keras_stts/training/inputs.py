"""What `fit`, `evaluate` and `predict` are given, as batches for Keras."""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops

from keras_stts.data.dataset import VideoDataset
from keras_stts.data.formats import as_tf_dataset
from keras_stts.training import distributing
from keras_stts.training import padding


def prepare(model, data, batch_size=None, shuffle=False, labelled=False):
    """Make what a user passed into something that Keras iterates over.

    Args:
        model: A `VideoVLM`.
        data: Tuple (x, y, sample_weight), the last two optional.
        batch_size: Optional int.
        shuffle: Bool. Whether examples of a dict change order each epoch.
        labelled: Bool. Whether there must be responses, or labels.

    Returns:
        A dataset of preprocessed batches.

    Raises:
        ValueError: If the model cannot run on the devices it is to run on, or
            the data are of a kind that cannot be iterated over,
            are not labelled and ought to be, or have labels or weights that
            would not count.
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
        return PreprocessedDataset(model, x, labelled)
    parts = distributing.replicas()
    if inspect.isgenerator(x):
        return (preprocess_batch(model, b, labelled, parts) for b in x)
    if hasattr(x, "element_spec"):  # A tf.data.Dataset.
        return _prepare_tf_data(model, x, labelled)
    if _is_grain(x):
        return x.map(lambda b: preprocess_batch(model, b, labelled, parts))
    if not isinstance(x, dict):
        raise ValueError(
            'The data must be a dict (of "videos", "prompts" and "responses", '
            "or of preprocessed inputs), a `tf.data.Dataset`, a "
            "`keras.utils.PyDataset`, a Grain dataset or a generator. "
            f"Received: {type(x).__name__}."
        )
    batches = ArrayDataset((x, y, sample_weight), batch_size or 32, shuffle)
    return PreprocessedDataset(model, batches, labelled)


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
    """As `padding.fill_up`, in a `tf.data.Dataset`."""
    import tensorflow as tf

    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if y is not None and weight is None:
        batch = (x, y, tf.ones_like(y, "float32"))
    flat = tf.nest.flatten(batch)

    def fill_up(*arrays):
        batch_of = tf.nest.pack_sequence_as(batch, arrays)
        return tf.nest.flatten(padding.fill_up(model, batch_of, parts))

    full = tf.numpy_function(fill_up, flat, [part.dtype for part in flat])
    for part, given in zip(full, flat):
        part.set_shape((None, *given.shape[1:]))
    return tf.nest.pack_sequence_as(batch, full)


def is_preprocessed(x):
    return isinstance(x, dict) and "token_ids" in x


def preprocess_batch(model, batch, labelled=False, parts=None):
    """A batch as the model takes it, whether it was preprocessed or not.

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
        check_inputs(model.backbone, x)
        batch = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    else:
        batch = model.preprocessor(x, y, sample_weight)
    return padding.fill_up(model, batch, parts)


def _check_kind(model, x, y, labelled):
    """Raise if raw data have no preprocessor, or labels where none belong."""
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


def check_inputs(backbone, x):
    """Check that preprocessed inputs are what a backbone takes.

    Raises:
        ValueError: If an input is missing, the frames are not uint8 of the
            right number and size, real frames are missing or do not come
            first, a video has more or fewer placeholders than P a frame, the
            samples of a row do not stand one after the other, or a prompt is
            not at the beginning of its text.
    """
    missing = sorted(set(backbone.input) - set(x))
    if missing:
        raise ValueError(
            "Preprocessed inputs must be complete. Received a dict without "
            f"{', '.join(missing)}."
        )
    wanted = 0
    if "videos" in backbone.input:
        _check_pixels(backbone, "videos", x["videos"])
        frames = _numpy(x["frame_mask"]).astype(bool)
        if frames.shape != tuple(x["videos"].shape[:2]):
            raise ValueError(
                "`frame_mask` must have a value for each frame. Received: "
                f"videos of shape={tuple(x['videos'].shape)}, frame_mask of "
                f"shape={frames.shape}."
            )
        if not frames[:, 0].all() or (frames[:, 1:] > frames[:, :-1]).any():
            raise ValueError(
                "`frame_mask` must be True at the real frames of a video, "
                "which come first; there is at least one. Received: "
                f"{frames.astype(int).tolist()}."
            )
        wanted = wanted + frames.sum(-1) * backbone.num_blocks
    if "images" in backbone.input:
        _check_pixels(backbone, "images", x["images"])
        tokens = (_numpy(x["image_pooling"]) >= 0).any(-1)
        if (tokens[:, 1:] > tokens[:, :-1]).any():
            raise ValueError(
                "In `image_pooling` tokens without patches, padding, must "
                "come last. Received: some between others."
            )
        wanted = wanted + tokens.sum(-1)
    _check_placeholders(backbone, x, wanted)
    if backbone.num_segments > 1:
        _check_segments(backbone, x)
    if "prompt_mask" in backbone.input:
        _check_prompts(x)


def _check_prompts(x):
    prompt = _numpy(x["prompt_mask"]).astype(bool)
    outside = prompt & ~_numpy(x["padding_mask"]).astype(bool)
    late = (prompt[:, 1:] > prompt[:, :-1]).any()
    if not prompt[:, 0].all() or late or outside.any():
        raise ValueError(
            "`prompt_mask` must be True at the tokens of a prompt, which come "
            "first and are no padding; there is at least one. Received: "
            f"{prompt.astype(int).tolist()}."
        )


def _check_pixels(backbone, name, pixels):
    wanted = backbone.input[name].shape
    dtype = keras.backend.standardize_dtype(pixels.dtype)
    fits = len(pixels.shape) == len(wanted) and all(
        size in (None, given) for size, given in zip(wanted, pixels.shape)
    )
    if not fits or dtype != "uint8":
        sizes = ", ".join(str(size or "frames") for size in wanted[1:])
        raise ValueError(
            f"Preprocessed {name} must be uint8, 0 to 255, of shape (batch, "
            f"{sizes}). Received: dtype={dtype}, shape={tuple(pixels.shape)}."
        )


def _check_placeholders(backbone, x, wanted):
    ids, mask = _numpy(x["vision_token_ids"]), _numpy(x["vision_mask"])
    found = ((ids == backbone.image_patch_id) & mask.astype(bool)).sum(-1)
    if (found != wanted).any():
        raise ValueError(
            "Each token of an image, and each of the "
            f"{backbone.num_blocks} blocks of a real frame, needs a "
            "placeholder in `vision_token_ids`. Received: "
            f"{found.tolist()} placeholders, {np.asarray(wanted).tolist()} "
            "needed."
        )


def _check_segments(backbone, x):
    """Raise unless the samples of rows stand one after the other."""
    most = backbone.num_segments
    ids = {n: _numpy(x[n]) for n in backbone.input if n.endswith("_segments")}
    for name, which in ids.items():
        steps = np.diff(which, axis=1, prepend=0)
        good = ((steps == 0) | (steps == 1)).all() and not which[:, 0].any()
        if not good or which.max() >= most:
            raise ValueError(
                f"`{name}` must number the samples of a row, up to "
                f"num_segments={most} of them, 0, 1, ... one after the other; "
                f"padding counts to the last. Received: {which.tolist()}."
            )
    patches = _numpy(x["vision_token_ids"]) == backbone.image_patch_id
    real = _numpy(x["vision_mask"]).astype(bool)
    tokens = _count(real, ids["vision_segments"], most)
    wanted = found = _count(real & patches, ids["vision_segments"], most)
    if "videos" in backbone.input:
        frames = _numpy(x["frame_mask"]).astype(bool)
        frames = _count(frames, ids["frame_segments"], most)
        wanted = np.maximum(frames, tokens > 0) * backbone.num_blocks
    texts = ids["text_segments"].max(1) + 1
    if (found != wanted).any() or ((tokens > 0).sum(1) != texts).any():
        raise ValueError(
            "Each sample of a row must have a text, a start token, and a "
            f"placeholder for each of the {backbone.num_blocks} blocks of its "
            f"real frames, of which there is one at least. Received: "
            f"{found.tolist()} placeholders in `vision_segments`, "
            f"{wanted.tolist()} needed, and {texts.tolist()} texts."
        )


def _count(mask, segments, num_segments):
    """How many are True of each sample of a row: (B, num_segments)."""
    same = segments[..., None] == np.arange(num_segments)
    return (same & mask[..., None]).sum(1)


def check_alone(x):
    """Raise if preprocessed rows hold several samples."""
    found = _numpy(x.get("text_segments", 0)).max() + 1
    if found > 1:
        raise ValueError(
            "`generate` takes one sample a row. Received: rows of up to "
            f"{found} samples. Pass each as a row of its own."
        )


def _numpy(value):
    return np.asarray(ops.convert_to_numpy(value))


class PreprocessedDataset(keras.utils.PyDataset):
    """Preprocesses the batches of another `keras.utils.PyDataset`."""

    def __init__(self, model, dataset, labelled=False):
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
        return preprocess_batch(self.model, batch, self.labelled, self.parts)

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


class ArrayDataset(keras.utils.PyDataset):
    """Batches of (dict of arrays or lists, labels, weights)."""

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
        return take(self.data, self.order[start : start + self.batch_size])

    def on_epoch_end(self):
        if self.shuffle:
            self.order = np.random.permutation(self.size)


def num_examples(data):
    """How many examples a tuple (x, y, sample_weight) holds.

    Raises:
        ValueError: If its parts differ in length, or there is no example.
    """
    x, *rest = data
    parts = {**x, **dict(zip(("y", "sample_weight"), rest))}
    sizes = {
        name: "a single one" if isinstance(value, str) else len(value)
        for name, value in parts.items()
        if hasattr(value, "__len__")
    }
    counts = set(sizes.values())
    if len(counts) != 1 or counts & {0, "a single one"}:
        raise ValueError(
            "All parts of the data must be lists or arrays of the same number "
            f"of examples, at least one. Received: {sizes}."
        )
    return counts.pop()


def batch_shape(x, batch_size=None):
    """Tuple (rows of a batch, tokens of a text or `None`) of data, as far as
    they say so; what is wrong with them is found when they are used."""
    if hasattr(x, "element_spec"):
        spec = x.element_spec
        spec = spec[0] if isinstance(spec, tuple) else spec
        shapes = [getattr(s, "shape", None) for s in spec.values()]
        known = [s[0] for s in shapes if s is not None and s.rank]
        return next((size for size in known if size), 1), None
    if not isinstance(x, dict):
        return getattr(x, "batch_size", None) or 1, None
    values = [v for v in x.values() if hasattr(v, "__len__")]
    lengths = [len(v) for v in values if not isinstance(v, (str, bytes))]
    rows = max(min(batch_size or 32, max(lengths, default=1)), 1)
    shape = getattr(x.get("token_ids"), "shape", None)
    return rows, shape[1] if shape is not None and len(shape) == 2 else None


def take(data, chosen):
    """Some examples of a tuple (x, y, sample_weight)."""
    x, *rest = data
    x = {name: _take_rows(value, chosen) for name, value in x.items()}
    return (x, *(_take_rows(value, chosen) for value in rest))


def _take_rows(value, chosen):
    if not hasattr(value, "__len__"):
        return value
    if isinstance(value, (list, tuple)):
        return [value[i] for i in chosen]
    if ops.is_tensor(value):
        value = ops.convert_to_numpy(value)
    return value[chosen]


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


def set_apart(model, data, validation_data, share, batch_size):
    """Tuple of what there is to train on, and batches to validate on.

    Args:
        model: A `VideoVLM`.
        data: Tuple (x, y, sample_weight).
        validation_data: What `fit` was given to validate on, or `None`.
        share: Optional float. Without these, the share of `data` to cut off.
        batch_size: Optional int.

    Returns:
        Tuple (data, batches), the latter `None` if there is nothing.
    """
    if share and validation_data is None:
        data, validation_data = split(data, share)
    if validation_data is None:
        return data, None
    if not isinstance(validation_data, tuple):
        validation_data = (validation_data,)
    batches = prepare(model, validation_data, batch_size, labelled=True)
    return data, batches


@contextlib.contextmanager
def keep_variables(model):
    """Puts the weights back if an error stops `fit`, `evaluate`, `predict`.

    Under JAX Keras takes them off the model while it runs, and can leave a
    model without weights if, say, a video cannot be read.
    """
    if keras.config.backend() != "jax":
        yield
        return
    variables = model.variables + model.metrics_variables
    if model.compiled:
        variables = variables + model.optimizer.variables
    values = [variable.value for variable in variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()  # To those after the last batch, if any.
        for variable, value in zip(variables, values):
            if variable._value is None:
                variable.assign(value)
        raise
