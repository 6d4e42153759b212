"""One process of a job that trains models; run by `two_processes_test.py`.

    python -m tests.distribution.process_of_two PORT INDEX COUNT FOLDER [BATCH]

Two of them train under each distribution, one under none. With BATCH runs are
cut off after so many batches: the first is interrupted, and at the second one
process is killed. Then each has two devices, or else one.
"""

import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np


class CutOff(keras.callbacks.Callback):
    """Ends a run after some batches, by a function."""

    def __init__(self, after, end):
        super().__init__()
        self.after = after
        self.end = end

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if not self.after:
            self.end()


def interrupt():
    raise KeyboardInterrupt


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def join(port, index, count, num_devices=2):
    """Make this process one of a job."""
    import jax

    jax.config.update("jax_num_cpu_devices", num_devices)
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


def train(kind, count, folder, callbacks):
    """A model, and its loss of the second epoch; neither if it is cut off."""
    import keras_stts
    from keras_stts.training import distributing
    from tests.models import tiny

    kinds = {
        "data": distributing.data_parallel,
        "fsdp": distributing.fully_sharded,
        "alone": lambda: None,
    }
    keras.distribution.set_distribution(kinds[kind]())
    model = tiny.model(
        vision_num_layers=2,
        vision_feature_layers=[1, 0],
        prune_layer=0,
        num_layers=1,
    )
    tiny.compile_to_train(model, rate=0.01)
    rows = keras_stts.data.read_manifest(f"{folder}/table.jsonl")
    backup = keras_stts.callbacks.Backup(f"{folder}/backup_{kind}", every=1)
    data = keras_stts.data.VideoDataset(
        rows, model.preprocessor, 4 // count, shard="auto", seed=3
    )
    with data:
        history = model.fit(
            data, epochs=2, callbacks=[backup, *callbacks], verbose=0
        )
    return model, history.history["loss"][-1]


def numbers(model, loss):
    """The loss, and a sum of each weight."""
    weights = model.trainable_variables
    return [loss, *(float(keras.ops.sum(w)) for w in weights)]


def logits(model, index, count):
    """Of four questions, of which each process has its own."""
    from tests.models import tiny

    x = tiny.raw([4, 2, 3, 1])
    own = slice(index * 4 // count, (index + 1) * 4 // count)
    x = {name: value[own] for name, value in x.items()}
    return np.sum(model.predict(x, verbose=0), axis=-1).tolist()


def answers(model, index, count):
    """Of four questions: the first process has one, the last has three."""
    from tests.models import tiny

    model.compile(sampler="greedy")
    x = tiny.raw([4, 2, 3, 1])
    own = {0: slice(1), 1: slice(1, 4)}[index] if count > 1 else slice(4)
    x = {name: value[own] for name, value in x.items()}
    return model.generate(x, max_length=24)


def evaluated(model, kind, count, folder):
    """Accuracy, and the predictions in the order of their questions."""
    import keras_stts

    output = f"{folder}/answers_{kind}_{count}"
    for limit in (3, 5):  # The second run goes on after the first.
        result = keras_stts.evaluate(
            model,
            f"{folder}/table.jsonl",
            batch_size=2,
            limit=limit,
            max_new_tokens=4,
            output=output,
            num_workers=1,
        )
    (file,) = pathlib.Path(output).glob("*/predictions.jsonl")
    entries = map(json.loads, file.read_text().splitlines())
    found = {entry["id"]: entry["prediction"] for entry in entries}
    return [result["accuracy"], *map(list, sorted(found.items()))]


def saved_and_loaded(model, folder):
    """A model made of what was saved of this one, in all ways."""
    import keras_stts

    model.save_weights(f"{folder}/saved.weights.h5")
    model.export_to_transformers(f"{folder}/molmo2")
    model.save_to_preset(f"{folder}/preset")
    return keras_stts.VideoVLM.from_preset(
        f"{folder}/preset", distribution="fsdp"
    )


def refusal(model, folder):
    """What is said where nothing can be saved."""
    try:
        model.save_to_preset(f"{folder}/table.jsonl/preset")
    except OSError as error:
        return str(error)


def cut_off(index, count, folder, after):
    try:
        train("data", count, folder, [CutOff(after, interrupt)])
    except KeyboardInterrupt:
        pass
    kill = [CutOff(after, die)] if index == count - 1 else []
    train("fsdp", count, folder, kill)


def main(port, index, count, folder, after=0):
    join(port, index, count, 2 if after else 1)
    if after:
        cut_off(index, count, folder, after)
    found = {}
    for kind in ("data", "fsdp") if count > 1 else ("alone",):
        model, loss = train(kind, count, folder, [])
        found[kind] = numbers(model, loss)
        found[f"{kind}_evaluated"] = evaluated(model, kind, count, folder)
    found["logits"] = logits(model, index, count)
    found["answers"] = answers(model, index, count)
    if count > 1:
        found["loaded"] = numbers(saved_and_loaded(model, folder), loss)
        found["refusal"] = refusal(model, folder)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    port, index, count, folder, *after = sys.argv[1:]
    main(int(port), int(index), int(count), folder, *map(int, after))
