"""A `VideoDataset` from a file, and as a dataset of other libraries."""

from keras_stts._install import how_to_install
from keras_stts.data.dataset import VideoDataset
from keras_stts.data.manifest import read_manifest


def video_dataset_from_manifest(
    path,
    preprocessor,
    batch_size,
    format="keras",
    *,
    folder=None,
    columns=None,
    **kwargs,
):
    """Make batches of a table of videos, questions and answers.

    Args:
        path: Path of the table, see `keras_stts.data.read_manifest`.
        preprocessor: A `keras_stts.VideoVLMPreprocessor`, or a
            `keras_stts.Qwen3VLPreprocessor`.
        batch_size: Int.
        format: `"keras"` for a `keras_stts.data.VideoDataset`, `"tf"` for a
            `tf.data.Dataset`, or `"grain"` for a `grain.IterDataset`. Each
            pass over one of the latter two is the next epoch.
        folder, columns: See `keras_stts.data.read_manifest`.
        **kwargs: Arguments of `keras_stts.data.VideoDataset`, such as
            `cache`, `buckets` or `on_error`.

    Returns:
        The dataset, of tuples (x, y, sample_weight).

    Raises:
        ValueError: If `format` is unknown.

    Example:
    ```python
    import json

    clips = keras_stts.datasets.shapes.generate("clips", "train", 1)
    with open("train.jsonl", "w") as file:
        for clip in clips:
            print(json.dumps(clip), file=file)

    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    data = keras_stts.data.video_dataset_from_manifest(
        "train.jsonl", model.preprocessor, 8, folder=".", cache="cache"
    )
    model.fit(data)
    ```
    """
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(FORMATS)}. Received: "
            f"format={format!r}."
        )
    keep = kwargs.get("on_error", "raise") != "raise"
    rows = read_manifest(
        path, folder, columns, on_error="keep" if keep else "raise"
    )
    data = VideoDataset(rows, preprocessor, batch_size, **kwargs)
    return FORMATS[format](data)


def as_tf_dataset(data):
    """A `VideoDataset` as a `tf.data.Dataset`, each pass the next epoch."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            'format="tf" needs TensorFlow, which is not installed. '
            f"{how_to_install('tensorflow')}, or leave `format` out: `fit` "
            "takes a `VideoDataset` on any backend."
        ) from error

    def epoch():
        batches = data.batches()
        for i in range(len(batches)):
            yield batches[i]
        if batches is data.batches():
            data.on_epoch_end()

    inputs, labels = data.preprocessor.batch_specs()
    x = {name: _spec(data, name, *spec) for name, spec in inputs.items()}
    rest = [_spec(data, name, *spec) for name, spec in labels.items()]
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=(x, *rest))
    if data.num_batches == data.batches_per_epoch:
        count = tf.data.experimental.assert_cardinality(data.num_batches)
        dataset = dataset.apply(count)
    return dataset.prefetch(1)


def _spec(data, name, shape, dtype):
    import tensorflow as tf

    if len(data.buckets) > 1 and name in data.preprocessor.frame_sizes(1):
        shape = (None, *shape[1:])
    return tf.TensorSpec((data.batch_size, *shape), dtype)


def as_grain_dataset(data):
    """A `VideoDataset` as a `grain.IterDataset`, each pass the next epoch.

    The state of an iterator is an epoch and a batch.
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            "Grain is not installed. Install it with `pip install grain`."
        ) from error

    class Batches(grain.DatasetIterator):
        def __init__(self):
            super().__init__()
            self.begin()

        def begin(self):
            self.batches, self.next = data.batches(), 0
            self.epoch, self.first = data.position

        def __next__(self):
            if self.next >= len(self.batches):
                if self.batches is data.batches():
                    data.on_epoch_end()
                raise StopIteration
            self.next += 1
            return self.batches[self.next - 1]

        def get_state(self):
            return {"epoch": self.epoch, "batch": self.first + self.next}

        def set_state(self, state):
            data.seek(state["epoch"], state["batch"])
            self.begin()

    class Epochs(grain.IterDataset):
        def __iter__(self):
            return Batches()

    return Epochs()


FORMATS = {
    "keras": lambda data: data,
    "tf": as_tf_dataset,
    "grain": as_grain_dataset,
}
