"""What Apache Beam does, of a request in JSON: measure, or count and compare.

Run as a script, by a Python that has TensorFlow Data Validation and need not
have anything else, in the folder of the request: `python _beam.py measure` or
`python _beam.py statistics`. It waits until there is a line on its standard
input, and ends when that does.

What runs on Beam's workers is sent to them from here. They read and write
files by the request's `place`, a folder that all of them reach. Where they
have not the folder of this package, it must be installed there.
"""

import importlib.util
import json
import os
import pathlib
import queue
import sys
import threading
import time
import uuid

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

# Objects at an address are written whole: so many seconds may be lost.
SECONDS_A_PART = 20


def main():
    run = measure
    if sys.argv[1] == "statistics":  # Its import takes long.
        script = pathlib.Path(__file__).with_name("_tfdv.py")
        tfdv = load_script("_tfdv", script)

        def run(request):
            tfdv.main(request, statistics)

    if not os.read(0, 1):
        return
    threading.Thread(target=end_with_input, daemon=True).start()
    run(json.loads(pathlib.Path("request.json").read_text("utf-8")))


def end_with_input():
    """Nobody waits for the rest once the other end is gone."""
    # Not by `sys.stdin`, whose lock a thread may not hold at the end.
    while os.read(0, 1):
        pass
    os._exit(1)


def load_script(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(request):
    """Measure the videos of `todo`, files of lines of JSON at `place`."""
    options = PipelineOptions(request["beam"])
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(request["todo"], reshuffle=False)
            | beam.FlatMap(read_lines, request["package"])
            | beam.Reshuffle()
            | beam.ParDo(Measure(request))
        )


def statistics(table, request, generate, to_arrow):
    """Bytes of the statistics of a table, which is a file at `place`.

    Args:
        table: Dict with the table's `"label"`.
        generate: A `PTransform` from batches to their statistics.
        to_arrow: Function of a list of rows: a batch.
    """
    path = f"{request['place']}/{table['label']}"
    options = PipelineOptions(request["beam"])
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create([f"{path}.jsonl"], reshuffle=False)
            | beam.FlatMap(read_lines, request["package"])
            | beam.Reshuffle()
            | beam.Map(json.loads)
            | beam.BatchElements(100, 10000)
            | beam.Map(to_arrow)
            | generate
            | beam.Map(write_message, f"{path}.pb", request["package"])
        )
    return paths_of(request["package"]).as_path(f"{path}.pb").read_bytes()


def import_package(package):
    """Whether the package is where it was; else it must be installed."""
    is_there = os.path.exists(package)
    if not is_there:
        found = importlib.util.find_spec("keras_stts")
        if found is None:
            raise ImportError(
                "Beam's workers need keras_stts and what it needs. Received: "
                "a worker without. Put it into their image, as docs/data.md "
                "shows."
            )
        package = os.path.dirname(found.origin)
    if "keras_stts" not in sys.modules:
        script = os.path.join(package, "data", "_worker.py")
        load_script("_worker", script).make_packages()
    return is_there


def paths_of(package):
    import_package(package)
    from keras_stts.data import paths

    return paths


def read_lines(path, package):
    yield from paths_of(package).as_path(path).read_bytes().splitlines()


def write_message(message, path, package):
    data = message.SerializeToString()
    paths_of(package).as_path(path).write_bytes(data)


class Measure(beam.DoFn):
    """Measures videos in processes that may die, and writes what they say."""

    def __init__(self, request):
        names = ("place", "package", "python", "num_workers", "time_limit")
        self.settings = {name: request[name] for name in names}

    def setup(self):
        settings = self.settings
        is_there = import_package(settings["package"])
        from keras_stts.data.workers import DecodePool

        self.pool = DecodePool(
            settings["num_workers"],
            settings["time_limit"],
            python=settings["python"] if is_there else sys.executable,
        )

    def teardown(self):
        self.pool.close()

    def start_bundle(self):
        self.part = Part(self.settings["place"], self.settings["package"])
        self.done, self.waiting = queue.SimpleQueue(), {}

    def process(self, line):
        task = json.loads(line)
        future = self.pool.submit_facts(task["video"], fps=task["fps"])
        self.waiting[future] = task
        future.add_done_callback(self.done.put)
        if len(self.waiting) >= 4 * self.settings["num_workers"]:
            self._write_one()

    def finish_bundle(self):
        while self.waiting:
            self._write_one()
        self.part.close()

    def _write_one(self):
        future = self.done.get()
        task = self.waiting.pop(future)
        try:
            facts = future.result()
        except (ValueError, OSError) as error:
            facts = {"error": str(error)}
        line = {"video": task["video"], "stamp": task["stamp"], "facts": facts}
        self.part.add(json.dumps(line) + "\n")


class Part:
    """Lines of a bundle, in files of their own names."""

    def __init__(self, place, package):
        self.folder = paths_of(package).as_path(place)
        self.is_local = isinstance(self.folder, pathlib.Path)
        self.file, self.text, self.since = None, "", time.monotonic()

    def _path(self):
        return self.folder / f"facts-{uuid.uuid4().hex}.jsonl"

    def add(self, line):
        if self.is_local:
            if self.file is None:
                self.file = open(self._path(), "w", encoding="utf-8")
            self.file.write(line)
            self.file.flush()
            return
        self.text += line
        if time.monotonic() - self.since > SECONDS_A_PART:
            self._flush()

    def _flush(self):
        self._path().write_text(self.text)
        self.text, self.since = "", time.monotonic()

    def close(self):
        if self.file is not None:
            self.file.close()
        if self.text:
            self._flush()


if __name__ == "__main__":
    main()
