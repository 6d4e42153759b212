"""Does training wait for its data?

    python benchmarks/pipeline.py --backend jax

trains `shapes_tiny` on rendered clips through `keras_stts.data.VideoDataset`:
an epoch that decodes, two from the cache, and as many steps on one batch that
lies in memory. It ends with one JSON line: seconds a step of each, and the
share of the time that the step waited for data.
"""

import argparse
import json
import os
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="jax")
parser.add_argument("--clips", type=int, default=64)
parser.add_argument("--batch-size", type=int, default=16)
args = parser.parse_args()
os.environ["KERAS_BACKEND"] = args.backend

import keras  # noqa: E402

import keras_stts  # noqa: E402
from keras_stts.data import VideoDataset  # noqa: E402
from keras_stts.datasets import shapes  # noqa: E402


class OneBatch(keras.utils.PyDataset):
    """The same batch again and again."""

    def __init__(self, batch, num_batches):
        super().__init__()
        self.batch, self.count = batch, num_batches

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return self.batch


def timed(model, data):
    """Seconds a step, and the share of them waited for data."""
    start = time.perf_counter()
    history = model.fit(data, verbose=0)
    seconds = (time.perf_counter() - start) / data.num_batches
    wait = history.history.get("input_wait", [0.0])[-1]
    return {"seconds": round(seconds, 4), "input_wait": round(wait, 4)}


def main():
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    result = {"backend": args.backend, "batch_size": args.batch_size}
    with tempfile.TemporaryDirectory() as folder:
        clips = shapes.generate(folder, "train", args.clips)
        rows = [
            {
                "id": i,
                "video": clip["video"],
                "prompt": clip["question"],
                "response": clip["answer"],
            }
            for i, clip in enumerate(clips)
        ]
        cache = os.path.join(folder, "cache")
        with VideoDataset(
            rows, model.preprocessor, args.batch_size, cache=cache
        ) as data:
            memory = OneBatch(data[0], data.num_batches)
            model.fit(memory, verbose=0)  # Compiles.
            for name in os.listdir(cache):
                for path in os.scandir(os.path.join(cache, name)):
                    os.unlink(path)
            data.seek(0)
            for name, source in (
                ("decoding", data),
                ("cached", data),
                ("cached again", data),
                ("in memory", memory),
            ):
                result[name] = timed(model, source)
                print(name, result[name], flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
