"""Statistics, schema, anomalies and a report of tables of videos."""

import collections
import functools
import json

from keras_stts.data.manifest import read_manifest
from keras_stts.data.paths import as_path
from keras_stts.data.validation import environment
from keras_stts.data.validation.anomalies import own_anomalies
from keras_stts.data.validation.anomalies import tfdv_anomaly
from keras_stts.data.validation.facts import measure_all
from keras_stts.data.validation.report import write_report
from keras_stts.data.validation.table import Table
from keras_stts.data.validation.table import key
from keras_stts.data.validation.tfdv_run import LABELS
from keras_stts.data.validation.tfdv_run import make_request
from keras_stts.data.validation.tfdv_run import run

ValidationResult = collections.namedtuple(
    "ValidationResult",
    ["anomalies", "statistics", "schema", "statistics_files", "report"],
)
ValidationResult.__doc__ = """The result of `keras_stts.data.validate`.

Attributes:
    anomalies: List of `keras_stts.data.Anomaly`.
    statistics: Dict of the path of each manifest to a dict of `"rows"`,
        `"videos"`, `"unreadable"` (ints), `"hours"` (float), and `"features"`,
        the figures of each feature.
    schema: Path of the schema file that was written.
    statistics_files: List of paths of the statistics that were written.
    report: Path of the HTML report that was written.

Example:
```python
result = keras_stts.data.ValidationResult(
    anomalies=[],
    statistics={"train.jsonl": {"rows": 8, "videos": 8, "unreadable": 0}},
    schema="validation/schema.pbtxt",
    statistics_files=["validation/statistics.pbtxt"],
    report="validation/report.html",
)
bool(result.anomalies)  # False
```
"""


def validate(
    manifest,
    against=None,
    schema=None,
    *,
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

    Apache Beam measures the videos (duration, frame rate, size, number of
    frames, brightness, bytes) in processes of its own. Questions and answers
    are described by their lengths, answers and all other columns by their
    values. TensorFlow Data Validation infers a schema from the first table and
    checks both tables with it: missing and new columns and values, and changed
    types. It also compares the distributions of both: numbers by their
    Jensen-Shannon divergence (drift), words by the largest difference of their
    shares (skew). Further anomalies are unreadable videos, duplicate rows and
    videos, and videos that are in both tables: the same file, or one that
    looks the same, such as a re-encoded copy.

    An interrupted run resumes from the measurements in `output/facts.jsonl`.
    With the runner of a cluster, all its workers must find the videos and
    `output` under the same names.

    Args:
        manifest: Path or address of a table, see
            `keras_stts.data.read_manifest`.
        against: Optional path or address of a second table, for example of a
            validation set.
        schema: Optional path or address of a schema to use, for example one
            that an earlier run wrote and you edited. Defaults to one inferred
            from `manifest`.
        output: Path or address of a folder, created if it is missing, for
            `schema.pbtxt`, `statistics.pbtxt`, `statistics_against.pbtxt`,
            `anomalies.json` and `report.html`. The report's last part, Facets,
            loads a script from the web.
        folder: See `read_manifest`.
        columns: See `read_manifest`.
        max_drift: Float. The largest allowed divergence of numbers, 0 to 1.
            It is raised for tables so small that chance alone exceeds it.
        max_skew: Float. The same for words.
        num_workers: Int. Measuring processes of each of Beam's workers.
        time_limit: Number. Seconds that measuring a video may take.
        pipeline_options: Sequence of str. Apache Beam's options, such as
            `["--runner=FlinkRunner", "--flink_master=host:8081"]`. Defaults to
            its runner on this machine.

    Returns:
        A `ValidationResult`.

    Raises:
        FileNotFoundError: If a table or the schema does not exist.
        ValueError: If a table or the schema is damaged.
        RuntimeError: If TensorFlow Data Validation is not installed, or fails.

    Example:

    >>> result = validate("train.jsonl", "val.jsonl")  # doctest: +SKIP
    >>> [anomaly.kind for anomaly in result.anomalies]  # doctest: +SKIP
    ['leaked_video']
    """
    python = environment.python()
    pipeline_options = list(pipeline_options)
    paths = [path for path in (manifest, against) if path is not None]
    _check(paths, schema)
    rows = [read_manifest(path, folder, columns) for path in paths]
    output = as_path(output)
    output.mkdir(parents=True, exist_ok=True)
    videos = {
        key(row): row.get("fps") or 2.0
        for row in sum(rows, [])
        if key(row) is not None
    }
    measure = functools.partial(
        measure_all,
        videos,
        output / "facts.jsonl",
        num_workers,
        time_limit,
        pipeline_options=pipeline_options,
    )

    def make_tables(facts):
        tables = [Table(str(p), r, facts) for p, r in zip(paths, rows)]
        return tables, make_request(
            tables, schema, max_drift, max_skew, pipeline_options
        )

    tables, found = run(python, measure, make_tables, output)
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
    if schema is not None and not as_path(schema).exists():
        raise FileNotFoundError(
            f"`schema` must be a file. Received: {str(schema)!r}, which does "
            "not exist. Leave it out to have one inferred."
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
