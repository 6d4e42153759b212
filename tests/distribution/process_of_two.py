"""One process of a job that trains a model; run by `two_processes_test.py`.

    python -m tests.distribution.process_of_two PORT INDEX COUNT FOLDER [BATCH]

All of them have four devices together. With BATCH the last one is killed
after so many batches.
"""

import json
import os
import signal
import sys

import keras


class Kill(keras.callbacks.Callback):
    """Kills this process after some batches."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if not self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def join(port, index, count):
    """Make this process one of a job."""
    import jax

    jax.config.update("jax_num_cpu_devices", 4 // count)
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"localhost:{port}",
            count,
            index,
            # Seconds until the others end, once one has.
            heartbeat_timeout_seconds=5,
            shutdown_timeout_seconds=10,
        )


def main(port, index, count, folder, kill=0):
    join(port, index, count)
    import keras_stts
    from keras_stts.training import distributing
    from tests.models import tiny

    keras.distribution.set_distribution(distributing.data_parallel())
    model = tiny.model(
        vision_num_layers=2,
        vision_feature_layers=[1, 0],
        prune_layer=0,
        num_layers=1,
    )
    tiny.compile_to_train(model, rate=0.01)
    rows = keras_stts.data.read_manifest(f"{folder}/table.jsonl")
    callbacks = [keras_stts.callbacks.Backup(f"{folder}/backup", every=1)]
    if kill and index == count - 1:
        callbacks.append(Kill(kill))
    data = keras_stts.data.VideoDataset(
        rows, model.preprocessor, 4 // count, shard="auto", seed=3
    )
    with data:
        history = model.fit(data, epochs=2, callbacks=callbacks, verbose=0)
    sums = [float(keras.ops.sum(w)) for w in model.trainable_variables]
    print(json.dumps([history.history["loss"][-1], *sums]), flush=True)


if __name__ == "__main__":
    port, index, count, folder, *kill = sys.argv[1:]
    main(int(port), int(index), int(count), folder, *map(int, kill))
