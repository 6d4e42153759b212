"""Measuring the videos of a table, bad ones among them, by Apache Beam.

    python benchmarks/validation.py --videos 500 --bad 50

writes small clips and files that are none, and measures them in turns: in
processes of this program without Beam, by Beam on this machine as
`keras_stts.data.validate` does by default, and by its runner of several
processes. Each has two processes that decode. All must say the same of each
file. It ends with one JSON line, seconds of each; the exit status is 1 if a bad
video harmed another, or was taken for a good one.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_stts.data import DecodePool  # noqa: E402
from keras_stts.data.validation.facts import measure_all  # noqa: E402
from keras_stts.datasets import shapes  # noqa: E402

PROCESSES = [
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
]


def write_videos(folder, count, num_bad):
    """Paths of good and of bad ones, mixed, and a set of the bad ones."""
    rows = shapes.generate(folder, "train", 20)
    clips = sorted({os.path.join(folder, row["video"]) for row in rows})
    paths, bad = [], set()
    for i in range(count):
        path = os.path.join(folder, f"{i:05d}.mp4")
        shutil.copy(clips[i % len(clips)], path)
        if i * num_bad // count != (i + 1) * num_bad // count:
            spoil(path, i)
            bad.add(path)
        paths.append(path)
    return paths, bad


def spoil(path, number):
    data = pathlib.Path(path).read_bytes()
    ways = (
        b"",
        data[: len(data) // 2],
        bytes(len(data)),
        b"no video\n" * 99,
        data[::-1],
        None,
    )
    found = ways[number % len(ways)]
    if found is None:
        os.unlink(path)
    else:
        pathlib.Path(path).write_bytes(found)


def without_beam(videos, folder):
    facts = {}
    with DecodePool(2) as pool:
        futures = {v: pool.submit_facts(v, fps=2.0) for v in videos}
        for video, future in futures.items():
            try:
                facts[video] = future.result()
            except (ValueError, OSError) as error:
                facts[video] = {"error": str(error)}
    return facts


def by_beam(videos, folder, num_workers=2, options=()):
    path = os.path.join(folder, "facts.jsonl")
    return measure_all(
        dict.fromkeys(videos, 2.0),
        path,
        num_workers,
        60.0,
        pipeline_options=options,
    )


WAYS = {
    "without Beam": without_beam,
    "Beam": by_beam,
    "Beam, two processes": lambda v, f: by_beam(v, f, 1, PROCESSES),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--bad", type=int, default=50)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    seconds, wrong = {name: [] for name in WAYS}, 0
    with tempfile.TemporaryDirectory() as folder:
        videos, bad = write_videos(folder, args.videos, args.bad)
        for _ in range(args.turns):
            for name, measure in WAYS.items():
                with tempfile.TemporaryDirectory() as output:
                    start = time.perf_counter()
                    facts = measure(videos, output)
                    seconds[name].append(time.perf_counter() - start)
                found = {v for v in videos if "error" in facts[v]}
                wrong += len(found ^ bad)
    result = {"videos": args.videos, "bad": args.bad, "wrong": wrong}
    result["seconds"] = {
        name: round(statistics.median(those), 2)
        for name, those in seconds.items()
    }
    print(json.dumps(result))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
