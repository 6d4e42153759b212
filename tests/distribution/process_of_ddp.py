"""One process of a job of PyTorch; run by `ddp_test.py`.

    python -m tests.distribution.process_of_ddp PORT INDEX COUNT FOLDER

Prints what training on its part of a batch gives.
"""

import json
import sys

import keras

import keras_stts
from tests.models import tiny

# Four rows of other lengths; each process has as many.
LENGTHS = (4, 2, 3, 1)


def main(port, index, count, folder):
    if count > 1:
        keras.distribution.initialize(f"localhost:{port}", count, index)
    model = tiny.shallow()
    optimizer = keras_stts.optimizers.PartwiseAdamW(0.01, epsilon=0.1)
    model.compile(optimizer, sampler="greedy")
    x = tiny.raw(LENGTHS)
    size = len(LENGTHS) // count
    own = slice(index * size, (index + 1) * size)
    x = {name: values[own] for name, values in x.items()}
    options = {"batch_size": size, "verbose": 0}
    history = model.fit(x, epochs=2, shuffle=False, **options).history
    scores = model.evaluate(x, **options)
    result = keras_stts.evaluate(
        model, f"{folder}/table.jsonl", batch_size=2, max_new_tokens=3
    )
    sums = [float(keras.ops.sum(w)) for w in model.trainable_variables]
    found = [history["loss"], history["aux_loss"], scores, sums]
    print(json.dumps([*found, result["accuracy"]]), flush=True)


if __name__ == "__main__":
    port, index, count, folder = sys.argv[1:]
    main(int(port), int(index), int(count), folder)
