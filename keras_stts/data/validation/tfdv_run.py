"""What TensorFlow Data Validation is asked, in a process, and what it found."""

import json
import pathlib
import sys
import tempfile

import tqdm

from keras_stts.data.paths import as_path
from keras_stts.data.validation import beam
from keras_stts.data.validation.comparison import Comparison
from keras_stts.data.validation.comparison import known_share
from keras_stts.data.validation.table import VIDEO

# Names of the files of statistics.
LABELS = ("statistics", "statistics_against")


def make_request(tables, schema, max_drift, max_skew, pipeline_options):
    """What `_tfdv.py` is to do."""
    first, last = tables[0], tables[-1]
    known = {
        feature: known_share(
            [f[feature] for f in first.features if feature in f],
            len(last.rows),
        )
        for feature, kind in first.kinds.items()
        if kind == "bytes"
    }
    request = {
        "schema": schema and str(schema),
        "beam": pipeline_options,
        "required": ["prompt_length", "response"],
        "optional": [*VIDEO, "response_length"],
        "known_share": known,
        "edges": {},
        "limits": {},
        "tables": [
            {"name": table.name, "label": label, "kinds": table.kinds}
            for table, label in zip(tables, LABELS)
        ],
    }
    if len(tables) == 2:
        comparison = Comparison(tables, max_drift, max_skew)
        request["edges"] = comparison.edges
        request["limits"] = comparison.limits
        for table, counts in zip(request["tables"], comparison.counts):
            table["counts"] = counts
    return request


def run(python, measure, make_tables, output):
    """Measure, let TensorFlow Data Validation work, and take what it wrote.

    It starts, which takes long, while videos are measured.

    Args:
        python: Path of a Python that has it.
        measure: Function that returns what was measured.
        make_tables: Function of that: tables, and what is to be done.
        output: Path or address of a folder.

    Returns:
        Tuple of the tables, and a dict of what it found.
    """
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        with beam.running(python, "statistics", work) as process:
            tables, request = make_tables(measure())
            place = _place(output, request["beam"])
            _write_tables(request, tables, place or work, work)
            beam.ask(process, work, request)
            _follow(process, len(tables) + 2)
        found = _take(request, work, output)
    _remove(place)
    return tables, found


def _write_tables(request, tables, place, work):
    """Write what Beam's workers read, and the schema."""
    request["place"] = str(place)
    for table, asked in zip(tables, request["tables"]):
        table.write(as_path(request["place"]) / f"{asked['label']}.jsonl")
    if request["schema"]:
        data = as_path(request["schema"]).read_bytes()
        (work / "given_schema").write_bytes(data)


def _take(request, work, output):
    """What TensorFlow Data Validation found; its files go to the output."""
    found = json.loads((work / "result.json").read_text(encoding="utf-8"))
    if "schema_error" in found:
        raise ValueError(
            "`schema` must be a schema of TensorFlow Data Validation as "
            f"text. Received: {request['schema']!r}, which is none "
            f"({found['schema_error']}). Correct it."
        )
    (output / f"{LABELS[1]}.pbtxt").unlink(missing_ok=True)
    for path in work.glob("*.pbtxt"):
        text = path.read_text(encoding="utf-8")
        (output / path.name).write_text(text, encoding="utf-8")
    return found


def _remove(place):
    """The folder of `_place`, if there is one."""
    if place is None:
        return
    for path in place.iterdir():
        path.unlink()
    if isinstance(place, pathlib.Path):
        place.rmdir()


def _place(output, options):
    """Folder that Beam's workers reach; `None` if all are of this machine."""
    if beam.is_local(options):
        return None
    place = output.absolute() / ".statistics"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _follow(process, steps):
    """Show the steps that a process names."""
    with tqdm.tqdm(total=steps, unit="step", file=sys.stderr) as progress:
        progress.set_description("Starting TensorFlow Data Validation")
        for line in process.stdout:
            progress.update()
            progress.set_description(line.strip())
        progress.update()
