"""What validation found, for a person: as text and as a page."""

import pathlib

import jinja2

TEMPLATE = pathlib.Path(__file__).with_name("report.html")


def write_report(result, facets, version):
    """Write the page.

    Args:
        result: `ValidationResult`.
        facets: Str, TensorFlow Data Validation's view as HTML.
        version: Str, its version.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        result=result,
        schema=result.schema.read_text(encoding="utf-8"),
        features=sorted(_features(result)),
        facets=facets,
        version=version,
    )
    result.report.write_text(page, encoding="utf-8")


def summary(result):
    """The main figures and all anomalies, as text."""
    lines = []
    for name, its in result.statistics.items():
        lines.append(
            f"{name}: {its['rows']} rows, {its['videos']} videos, "
            f"{its['hours']} h, {its['unreadable']} unreadable"
        )
    width = max(map(len, _features(result)))
    for feature in sorted(_features(result)):
        cells = [
            _figures(its["features"].get(feature))
            for its in result.statistics.values()
        ]
        lines.append(f"  {feature:{width}}  {'  |  '.join(cells)}")
    count = len(result.anomalies)
    lines.append(f"{count or 'No'} anomal{'y' if count == 1 else 'ies'}")
    for anomaly in result.anomalies:
        where = f"{anomaly.table}: {anomaly.feature}: {anomaly.kind}"
        lines.append(f"  {where}: {anomaly.description}")
    lines.append(f"Report: {result.report}")
    return "\n".join(lines)


def _features(result):
    return {f for its in result.statistics.values() for f in its["features"]}


def _figures(its):
    if not its or not its["count"]:
        return "none"
    if "mean" in its:
        low, high = _number(its["min"]), _number(its["max"])
        if low == high:
            return low
        return f"{low} to {high}, mean {_number(its['mean'])}"
    top = ", ".join(f"{v!r} {n}" for v, n in its["top"][:3])
    return f"{its['unique']} values: {top}"


def _number(value):
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
