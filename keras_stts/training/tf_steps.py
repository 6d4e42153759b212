"""TensorFlow's train, test and predict steps with static shapes.

Keras takes batches from the iterator inside the graph, where a number of frames
that differs between batches is unknown. Here batches are taken outside, and the
step is compiled once for each shape.
"""

import keras


def knows_shapes(model):
    """Whether a model runs on one device of TensorFlow, and needs this."""
    if keras.config.backend() != "tensorflow":
        return False
    return model.distribute_strategy.num_replicas_in_sync == 1


def compiled(model, step):
    import tensorflow as tf

    if model.run_eagerly:
        return step
    return tf.function(step, jit_compile=model.jit_compile)


def on_iterator(model, step):
    """Function that runs a step on the next batches of an iterator."""
    step = compiled(model, step)

    def run(iterator):
        outputs = None
        for _, batch in zip(range(model.steps_per_execution), iterator):
            outputs = step(batch)
        if outputs is None:
            raise StopIteration
        return outputs

    return run


def on_batches(model, step):
    """Function that runs a step on each of a list of batches."""
    step = compiled(model, step)

    def run(batches):
        outputs = [step(batch) for batch in batches]
        return keras.tree.map_structure(
            lambda *parts: keras.ops.concatenate(parts), *outputs
        )

    return run
