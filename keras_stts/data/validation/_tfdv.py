"""What TensorFlow Data Validation does, of a request in JSON.

Part of `_beam.py`, which runs it in an environment of its own. It prints a line
before each step, writes files into the folder that it runs in, and what it
found to `result.json`.
"""

import json
import pathlib
import sys

import pyarrow as pa
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_metadata.proto.v0 import statistics_pb2

TYPES = {"int": pa.int64(), "float": pa.float32(), "bytes": pa.binary()}


def main(request, run):
    """Do what is asked; `run` is `_beam.statistics`."""
    tables = request["tables"]
    schema = _load_schema() if request["schema"] else None
    statistics = [_statistics(table, request, run) for table in tables]
    print("Comparing", flush=True)
    if schema is None:
        schema = _infer(statistics[0], request)
    tfdv.write_schema_text(schema, "schema.pbtxt")
    result = {
        "tfdv": tfdv.__version__,
        "statistics": [_figures(each.datasets[0]) for each in statistics],
        "facets": _facets(statistics, tables),
    }
    result["anomalies"] = _anomalies(statistics, schema, request)
    _finish(result)


def _finish(result):
    pathlib.Path("result.json").write_text(json.dumps(result), encoding="utf-8")


def _statistics(table, request, run):
    """Statistics of a table, by Beam; also as text."""
    print(f"Statistics of {pathlib.Path(table['name']).name}", flush=True)
    names, kinds = zip(*sorted(table["kinds"].items()))
    generate = tfdv.GenerateStatistics(tfdv.StatsOptions(num_top_values=100))
    data = run(table, request, generate, _to_arrow(names, kinds))
    path = pathlib.Path(f"{table['label']}.pb")
    path.write_bytes(data)
    statistics = tfdv.load_stats_binary(str(path))
    tfdv.write_stats_text(statistics, f"{path}txt")
    return statistics


def _to_arrow(names, kinds):
    """Function of rows: a batch. Sent to workers, which lack this module."""

    def to_arrow(rows):
        columns = []
        for name, kind in zip(names, kinds):
            values = [row.get(name) for row in rows]
            values = [
                None
                if value is None
                else [value.encode() if isinstance(value, str) else value]
                for value in values
            ]
            columns.append(pa.array(values, pa.list_(TYPES[kind])))
        return pa.RecordBatch.from_arrays(columns, list(names))

    return to_arrow


def _load_schema():
    try:
        return tfdv.load_schema_text("given_schema")
    except (text_format.ParseError, UnicodeDecodeError) as error:
        _finish({"schema_error": str(error)})
        sys.exit()


def _infer(statistics, request):
    """TFDV's schema, with limits, and without what few rows cannot tell."""
    schema = tfdv.infer_schema(statistics, infer_feature_shape=False)
    for feature in schema.feature:
        if feature.name in request["optional"]:
            feature.presence.ClearField("min_fraction")
        if feature.name in request["required"]:
            feature.presence.min_fraction = 1
        if feature.domain:
            _limit_domain(feature, request["known_share"][feature.name])
        limit = request["limits"].get(feature.name)
        if limit is not None and feature.type == schema_pb2.BYTES:
            feature.skew_comparator.infinity_norm.threshold = limit
        elif limit is not None:
            comparator = feature.drift_comparator
            comparator.jensen_shannon_divergence.threshold = limit
    used = {feature.domain for feature in schema.feature}
    for domain in list(schema.string_domain):
        if domain.name not in used:
            schema.string_domain.remove(domain)
    return schema


def _limit_domain(feature, known_share):
    if known_share:
        feature.distribution_constraints.min_domain_mass = known_share
    else:
        feature.ClearField("domain")


def _anomalies(statistics, schema, request):
    """List of dicts: each table by the schema, and both by each other."""
    names = [table["name"] for table in request["tables"]]
    if len(names) == 1:
        found = tfdv.validate_statistics(statistics[0], schema)
        return _reasons(found, names[0])
    for each, table in zip(statistics, request["tables"]):
        _use_bins(each.datasets[0], request["edges"], table["counts"])
    first, second = statistics
    skew = tfdv.validate_statistics(first, schema, serving_statistics=second)
    drift = tfdv.validate_statistics(second, schema, previous_statistics=first)
    return [
        *_reasons(skew, names[0], "skew", names[1]),
        *_reasons(drift, names[1], "drift", names[1]),
    ]


def _use_bins(dataset, edges, counts):
    """Count both tables in the same bins.

    TFDV's own are ten equal parts of a table's range: one long video more, and
    samples of one source look as different as can be.
    """
    for feature in dataset.features:
        name = feature.path.step[0]
        if name not in edges or name not in counts:
            continue
        for histogram in feature.num_stats.histograms:
            if histogram.type == statistics_pb2.Histogram.STANDARD:
                del histogram.buckets[:]
                ends = zip(edges[name], edges[name][1:], counts[name])
                for low, high, count in ends:
                    histogram.buckets.add(
                        low_value=low, high_value=high, sample_count=count
                    )


def _reasons(found, name, way=None, compared=None):
    """Dicts of an `Anomalies` message."""
    result = []
    infos = [*found.anomaly_info.values(), found.dataset_anomaly_info]
    for info in infos:
        for reason in info.reason:
            kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
            differs = kind.startswith("COMPARATOR") and kind.endswith("HIGH")
            result.append(
                {
                    "table": compared if differs else name,
                    "feature": ".".join(info.path.step),
                    "kind": way if differs else kind.lower(),
                    "description": reason.description,
                }
            )
    return result


def _figures(dataset):
    """Dict of feature to its main figures."""
    return {
        ".".join(feature.path.step): _feature_figures(feature)
        for feature in dataset.features
    }


def _feature_figures(feature):
    if feature.WhichOneof("stats") == "num_stats":
        numbers, figures = feature.num_stats, {}
        common = numbers.common_stats
        for name in ("mean", "std_dev", "min", "median", "max"):
            figures[name] = getattr(numbers, name)
    else:
        words = feature.string_stats
        common = words.common_stats
        top = [[each.value, int(each.frequency)] for each in words.top_values]
        figures = {"unique": words.unique, "top": top[:20]}
    present = {"count": common.num_non_missing, "missing": common.num_missing}
    return {**present, **figures}


def _facets(statistics, tables):
    names = dict(zip(("lhs_name", "rhs_name"), (t["name"] for t in tables)))
    return tfdv.get_statistics_html(*statistics, **names)
