"""TensorFlow's train, test and predict steps with static shapes.

Keras takes batches from the iterator inside the graph, where a number of frames
that differs between batches is unknown. Here batches are taken outside, and the
step is compiled once for each shape.
"""

import keras

from keras_stts.ops import replicas
from keras_stts.training import mirrored
from keras_stts.training import padding
from keras_stts.training import shares


def are_wanted():
    """Whether Keras runs TensorFlow, and needs this."""
    return keras.config.backend() == "tensorflow"


def compiled(model, step):
    import tensorflow as tf

    if model.run_eagerly:
        return step
    return tf.function(step, jit_compile=model.jit_compile)


def on_iterator(model, step):
    """Function that runs a step on the next batches of an iterator."""
    step = _on_devices(model, step)

    def run(iterator):
        outputs = None
        for _, batch in zip(range(model.steps_per_execution), iterator):
            outputs = step(batch)
        if outputs is None:
            raise StopIteration
        # Metrics of one device are not those of all.
        return outputs[0] if len(outputs) == 1 else model.get_metrics_result()

    return run


def on_batches(model, step):
    """Function that runs a step on each of a list of batches."""
    step = _on_devices(model, step)

    def rows_of(batch):
        parts = step(batch)
        if len(parts) == 1:
            return parts[0]
        return keras.ops.concatenate(parts)[: _num_rows(batch)]

    def run(batches):
        outputs = [rows_of(batch) for batch in batches]
        return keras.tree.map_structure(
            lambda *parts: keras.ops.concatenate(parts), *outputs
        )

    return run


def _on_devices(model, step):
    """Function of a batch that returns a list, what a step returned on each
    device, in the order of the rows."""
    strategy = mirrored.strategy_of(model)
    if strategy is not None:
        return _divided(model, step, strategy)
    step = compiled(model, step)
    return lambda batch: [step(batch)]


def _divided(model, step, strategy):
    """See `_on_devices`; each of several devices runs a part of the batch."""
    import tensorflow as tf

    number = strategy.num_replicas_in_sync

    def run_part(batch, tokens, frames):
        with replicas.sharing(tokens=tokens, frames=frames):
            return step(batch)

    # In a graph also if all else runs eagerly: there devices that wait for
    # each other do so in one order.
    @tf.function
    def run_all(part):
        return strategy.run(run_part, part)

    def run(batch):
        parts = _parts(model, batch, number)
        outputs = run_all(
            strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group]
            )
        )
        local = strategy.experimental_local_results
        flat = map(local, tf.nest.flatten(outputs))
        return [tf.nest.pack_sequence_as(outputs, each) for each in zip(*flat)]

    return run


def _num_rows(batch):
    x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return len(x["token_ids"])


def _parts(model, batch, number):
    """A batch in parts of as many rows, the last of which may be filled up.

    Returns:
        List of tuples: the part, and its shares of tokens and of frames.
    """
    size = _num_rows(batch)
    batch = padding.fill_up(model, batch, number)
    rows = _num_rows(batch) // number

    def part(index):
        own = slice(index * rows, (index + 1) * rows)
        return keras.tree.map_structure(
            lambda value: keras.ops.convert_to_tensor(value[own]), batch
        )

    parts = [part(index) for index in range(number)]
    tokens, frames = zip(*map(shares.weights_of, parts))
    parts = [shares.counted_as(part, size) for part in parts]
    return list(zip(parts, _shares(tokens), _shares(frames)))


def _shares(weights):
    total, number = sum(weights), len(weights)
    return [shares.share(weight, total, number) for weight in weights]
