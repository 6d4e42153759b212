"""Statistics, schema, anomalies and a report of tables of videos."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys

import tqdm

from keras_stts.data.manifest import read_manifest
from keras_stts.data.validation import environment
from keras_stts.data.validation.anomalies import own_anomalies
from keras_stts.data.validation.anomalies import tfdv_anomaly
from keras_stts.data.validation.comparison import Comparison
from keras_stts.data.validation.comparison import known_share
from keras_stts.data.validation.facts import measure_all
from keras_stts.data.validation.report import write_report
from keras_stts.data.validation.table import VIDEO
from keras_stts.data.validation.table import Table
from keras_stts.data.validation.table import key

SCRIPT = pathlib.Path(__file__).with_name("_tfdv.py")
LABELS = ("statistics", "statistics_against")

ValidationResult = collections.namedtuple(
    "ValidationResult",
    ["anomalies", "statistics", "schema", "statistics_files", "report"],
)
ValidationResult.__doc__ = """What `keras_stts.data.validate` found.

Attributes:
    anomalies: List of `Anomaly`.
    statistics: Dict of a manifest's path to a dict of `"rows"`, `"videos"`,
        `"hours"`, `"unreadable"` (ints and a float), and `"features"`: dicts
        of figures.
    schema, statistics_files, report: Path, list of paths and path of the
        files written.
"""


def validate(
    manifest,
    against=None,
    schema=None,
    output="validation",
    folder=None,
    columns=None,
    max_drift=0.1,
    max_skew=0.1,
    num_workers=2,
    time_limit=60.0,
    pipeline_options=(),
):
    """Check a table of videos, alone or against a second one.

    Videos are measured (duration, rate, size, frames, brightness, bytes) in
    processes of their own, questions and answers by their lengths, answers
    and all other columns by their values. TensorFlow Data Validation infers a
    schema of the first table and checks both by it: missing and new columns
    and values, other types. It compares how both are distributed, numbers by
    Jensen-Shannon divergence (drift), words by the largest difference of their
    shares (skew). Further anomalies are videos that cannot be read, rows and
    videos that are there twice, and videos in both tables: the same file, or
    one that looks the same, as a copy encoded again does.

    A run that was ended goes on where it was: measurements are kept in
    `output`, in `facts.jsonl`.

    Args:
        manifest: Path of a table, see `keras_stts.data.read_manifest`.
        against: Optional path of a second table, of a validation set, say.
        schema: Optional path of a schema to be used as it is, one that was
            written before and edited, say. Defaults to one inferred of
            `manifest`.
        output: Path of a folder, made if need be, for `schema.pbtxt`,
            `statistics.pbtxt`, `statistics_against.pbtxt`, `anomalies.json`
            and `report.html`. The report's last part, Facets, loads a script
            from the web.
        folder: See `read_manifest`.
        columns: See `read_manifest`.
        max_drift: Float. The most that numbers may differ, 0 to 1. More is
            allowed where tables are so small that chance makes more.
        max_skew: Float. The same of words.
        num_workers: Int. Processes that measure.
        time_limit: Number. Seconds that measuring a video may take.
        pipeline_options: Sequence of str. Apache Beam's options for the
            statistics, `["--direct_num_workers=4",
            "--direct_running_mode=multi_processing"]`, say.

    Returns:
        A `ValidationResult`.

    Raises:
        FileNotFoundError: If a table or the schema is not there.
        ValueError: If one is damaged.
        RuntimeError: If TensorFlow Data Validation is not installed, or fails.

    Example:

    >>> result = validate("train.jsonl", "val.jsonl")  # doctest: +SKIP
    >>> [anomaly.kind for anomaly in result.anomalies]  # doctest: +SKIP
    ['leaked_video']
    """
    python = environment.python()
    paths = [path for path in (manifest, against) if path is not None]
    _check(paths, schema)
    rows = [read_manifest(path, folder, columns) for path in paths]
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    videos = {
        key(row): row.get("fps") or 2.0
        for row in sum(rows, [])
        if key(row) is not None
    }
    facts = measure_all(videos, output / "facts.jsonl", num_workers, time_limit)
    tables = [Table(str(p), r, facts) for p, r in zip(paths, rows)]
    request = _request(tables, schema, max_drift, max_skew, pipeline_options)
    found = _run(python, request, tables, output)
    anomalies = own_anomalies(tables) + [
        tfdv_anomaly(each, tables)
        for each in sorted(found["anomalies"], key=lambda a: a["feature"])
    ]
    statistics = {
        table.name: {**_totals(table), "features": features}
        for table, features in zip(tables, found["statistics"])
    }
    result = ValidationResult(
        anomalies,
        statistics,
        output / "schema.pbtxt",
        [output / f"{label}.pbtxt" for label, _ in zip(LABELS, tables)],
        output / "report.html",
    )
    _write(result, output / "anomalies.json")
    write_report(result, found["facets"], found["tfdv"])
    return result


def _check(paths, schema):
    if len(set(map(str, paths))) < len(paths):
        raise ValueError(
            "`against` must be another table than `manifest`. Received: "
            f"{str(paths[0])!r} twice. Leave it out to check one table."
        )
    if schema is not None and not os.path.exists(schema):
        raise FileNotFoundError(
            f"`schema` must be a file. Received: {str(schema)!r}, which does "
            "not exist. Leave it out to have one inferred."
        )


def _request(tables, schema, max_drift, max_skew, pipeline_options):
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
        "schema": schema and os.path.abspath(schema),
        "beam": list(pipeline_options),
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


def _run(python, request, tables, output):
    """Let TensorFlow Data Validation work, and take what it wrote."""
    work = output / ".work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for table, asked in zip(tables, request["tables"]):
        table.write(work / f"{asked['label']}.jsonl")
    (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
    _call(python, work, len(tables) + 2)
    found = json.loads((work / "result.json").read_text(encoding="utf-8"))
    if "schema_error" in found:
        shutil.rmtree(work)
        raise ValueError(
            "`schema` must be a schema of TensorFlow Data Validation as text. "
            f"Received: {request['schema']!r}, which is none "
            f"({found['schema_error']}). Correct it."
        )
    (output / f"{LABELS[1]}.pbtxt").unlink(missing_ok=True)
    for path in work.glob("*.pbtxt"):
        path.replace(output / path.name)
    shutil.rmtree(work)
    return found


def _call(python, work, steps):
    # Nothing of this environment is to be found in the other one, and no
    # module beside the script.
    isolated = "-P" if python == sys.executable else "-I"
    command = [python, isolated, str(SCRIPT)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with (
        open(work / "log.txt", "w+", encoding="utf-8", errors="replace") as log,
        tqdm.tqdm(total=steps, unit="step", file=sys.stderr) as progress,
    ):
        progress.set_description("Starting TensorFlow Data Validation")
        process = subprocess.Popen(
            command,
            cwd=work,
            env={**os.environ, **quiet},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            for line in process.stdout:
                progress.update()
                progress.set_description(line.strip())
            progress.update(not process.wait())
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            log.seek(0)
            raise RuntimeError(
                "TensorFlow Data Validation failed:\n" + log.read()[-3000:]
            )


def _totals(table):
    videos = {key(row): facts for row, facts in zip(table.rows, table.facts)}
    seconds = [facts.get("seconds", 0.0) for facts in videos.values()]
    return {
        "rows": len(table.rows),
        "videos": len(videos),
        "unreadable": sum("error" in facts for facts in videos.values()),
        "hours": round(sum(seconds) / 3600, 2),
    }


def _write(result, path):
    content = {
        "anomalies": [anomaly._asdict() for anomaly in result.anomalies],
        "statistics": result.statistics,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")
