"""Does training wait for its data?

    python benchmarks/pipeline.py --backend jax

trains `shapes_tiny` on rendered clips through `keras_stts.data.VideoDataset`:
an epoch that decodes, two from the cache, and as many steps on one batch that
lies in memory. Then it reads clips without training: from files, from shards of
files and from shards of chosen frames, in turns. It ends with one JSON line:
seconds a step of each, the share of the time that the step waited for data, and
videos a second of each way to read (medians), and beside reading files.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="jax")
parser.add_argument("--clips", type=int, default=64)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--turns", type=int, default=5)
args = parser.parse_args()
os.environ["KERAS_BACKEND"] = args.backend

import keras  # noqa: E402

import keras_stts  # noqa: E402
from keras_stts.data import VideoDataset  # noqa: E402
from keras_stts.data import read_manifest  # noqa: E402
from keras_stts.data import records  # noqa: E402
from keras_stts.data import write_shards  # noqa: E402
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


def ways_to_read(folder, clips, preprocessor):
    """Dict of name to rows: one question a video, from files and shards."""
    table = os.path.join(folder, "one.jsonl")
    with open(table, "w", encoding="utf-8") as file:
        for clip in clips:
            print(json.dumps(clip), file=file)
    ways = {"files": read_manifest(table)}
    for format in records.WRITERS:
        if format == "array_record" != records.default_format():
            continue
        for content in ("files", "frames"):
            chosen = content == "frames" and preprocessor.video_converter
            output = os.path.join(folder, format, content)
            found = write_shards(
                table, output, format, converter=chosen or None
            )
            ways[f"{format} of {content}"] = read_manifest(found)
    return ways


def rates(ways, preprocessor, batch_size, turns):
    """Videos a second of each way to read, medians of epochs in turns."""
    found = {name: [] for name in ways}
    data = {
        name: VideoDataset(rows, preprocessor, batch_size)
        for name, rows in ways.items()
    }
    for turn in range(turns + 1):
        for name, rows in ways.items():
            data[name].seek(turn)
            start = time.perf_counter()
            for i in range(len(data[name])):
                data[name][i]
            seconds = time.perf_counter() - start
            if turn:  # Processes start in the first.
                found[name].append(len(rows) / seconds)
    for each in data.values():
        each.close()
    return {n: round(statistics.median(v), 1) for n, v in found.items()}


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
        questions = len(clips) // args.clips
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
        once = [row for i, row in enumerate(clips) if i % questions == 0]
        ways = ways_to_read(folder, once, model.preprocessor)
        found = rates(ways, model.preprocessor, args.batch_size, args.turns)
        result["videos_a_second"] = found
        result["beside_files"] = {
            name: round(rate / found["files"], 3)
            for name, rate in found.items()
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
