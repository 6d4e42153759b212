"""Does training wait for its data?

    python benchmarks/pipeline.py --backend jax

trains `shapes_tiny` on rendered clips through `keras_stts.data.VideoDataset`:
an epoch that decodes, two from the cache, and as many steps on one batch that
lies in memory. Then it reads clips without training, by Grain if it is there:
from files, from shards of files and from shards of chosen frames, in turns. It
ends with one JSON line: seconds a step of each, the share of the time that the
step waited for data, videos a second of each way to read (quartiles), and their
medians beside that of files. `--reading` leaves training out; `--output` is a
file for the result, such as benchmarks/results/pipeline.json.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="jax")
parser.add_argument("--clips", type=int, default=64)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--turns", type=int, default=5)
parser.add_argument("--reading", action="store_true")
parser.add_argument("--output", type=pathlib.Path)
args = parser.parse_args()
os.environ["KERAS_BACKEND"] = args.backend

import keras  # noqa: E402

import keras_stts  # noqa: E402
from keras_stts.data import VideoDataset  # noqa: E402
from keras_stts.data import as_grain_dataset  # noqa: E402
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
    """Videos a second of each way to read: quartiles of epochs in turns."""
    has_grain = importlib.util.find_spec("grain") is not None
    found = {name: [] for name in ways}
    data = {
        name: VideoDataset(rows, preprocessor, batch_size)
        for name, rows in ways.items()
    }
    passes = {
        name: as_grain_dataset(each) if has_grain else each.batches()
        for name, each in data.items()
    }
    for turn in range(turns + 1):
        # The first of a turn may find the machine as another left it.
        names = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in names:
            rows = ways[name]
            data[name].seek(turn)
            start = time.perf_counter()
            count = sum(1 for _ in passes[name])
            seconds = time.perf_counter() - start
            if count != data[name].num_batches:
                raise RuntimeError(f"{name}: {count} batches were read.")
            if turn:  # Processes start in the first.
                found[name].append(len(rows) / seconds)
    for each in data.values():
        each.close()
    return {
        name: [round(x, 1) for x in statistics.quantiles(each)]
        for name, each in found.items()
    }


def train(model, clips, folder):
    """Dict of what `timed` returns of each source of batches."""
    rows = [
        {
            "id": i,
            "video": clip["video"],
            "prompt": clip["question"],
            "response": clip["answer"],
        }
        for i, clip in enumerate(clips)
    ]
    cache, result = os.path.join(folder, "cache"), {}
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
    return result


def circumstances():
    """Dict of what was run, and where."""
    versions = {}
    for name in ("keras", args.backend, "array-record", "grain", "av"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": versions,
        "clips": args.clips,
        "turns": args.turns,
        "backend": args.backend,
        "batch_size": args.batch_size,
        "load": round(os.getloadavg()[0], 1),
    }


def main():
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
    result = circumstances()
    with tempfile.TemporaryDirectory() as folder:
        clips = shapes.generate(folder, "train", args.clips)
        questions = len(clips) // args.clips
        if not args.reading:
            result |= train(model, clips, folder)
        once = [row for i, row in enumerate(clips) if i % questions == 0]
        ways = ways_to_read(folder, once, model.preprocessor)
        found = rates(ways, model.preprocessor, args.batch_size, args.turns)
        result["videos_a_second"] = found
        result["beside_files"] = {
            name: round(each[1] / found["files"][1], 3)
            for name, each in found.items()
        }
    if args.output is not None:
        text = json.dumps(result, indent=1) + "\n"
        args.output.write_text(text, encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
