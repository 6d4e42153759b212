"""Results of evaluations: their content, and tables of them."""

import numpy as np

from keras_stts.data.paths import as_path
from keras_stts.evaluation.journal import RESULTS
from keras_stts.evaluation.journal import read_json
from keras_stts.evaluation.scores import mark
from keras_stts.evaluation.scores import score

MEANS = (
    "vision_tokens",
    "vision_tokens_left",
    "prompt_tokens",
    "answer_tokens",
    "prefill_seconds",
    "decode_seconds",
)


def summarize(
    model, questions, entries, num_frames, *, rule="wrong", figures=None
):
    """Results of the questions that were answered.

    Args:
        model: A `VideoVLM`.
        questions: List of `Question`.
        entries: Dict of id to prediction, as `predictions.jsonl` has them.
        num_frames: Int. Frames that a video is padded to, if entries do not
            say others.
        rule: Str, see `keras_stts.evaluation.scores.mark`.
        figures: Optional function, see `Benchmark`.

    Returns:
        Dict of
        - `"accuracy"`, `"interval"` (95%, see
          `keras_stts.evaluation.scores.interval`), the number `"n"` of
          questions, `"unparsed"`, the share of answers that could not be
          parsed, and `"categories"`, the same for each category;
        - `"figures"`, a dict, what the benchmark's authors report beside
          accuracy, if they do;
        - means over the questions: `"vision_tokens"` that the language model
          sees, `"vision_tokens_left"` in its last layer, `"prompt_tokens"`
          beside them, `"answer_tokens"`, `"prefill_seconds"` and
          `"decode_seconds"` (compiled and warm; of a batch, divided by its
          size; decoding for as many steps as the answer has), `"flops"` of
          the prefill;
        - total `"compile_seconds"`, and `"peak_memory"`, bytes of `"host"`
          and `"device"`;
        - if blocks are pruned, `"kept_by_row"` of the image and
          `"kept_by_time"`, mean shares of the blocks that are left in the end;
        - `"batch_size"`, a list if a run was resumed with another one.

        `keras_stts.evaluate` adds the settings, and the numbers of
        `"unreadable"` and `"not_asked"` questions.
    """
    questions = [q for q in questions if q.id in entries]
    rows = [entries[question.id] for question in questions]
    marks = [
        mark(question, row["prediction"], rule)
        for question, row in zip(questions, rows)
    ]
    result = score(questions, marks)
    if figures is not None:
        # An answer that does not count for the accuracy is wrong here.
        shares = [float(item["right"] or 0) for item in marks]
        result["figures"] = figures(questions, shares)
    for name in MEANS:
        result[name] = _mean([row[name] for row in rows])
    result["flops"] = _mean(_flops(model, num_frames, rows))
    result["compile_seconds"] = sum(row["compile_seconds"] for row in rows)
    result["peak_memory"] = {
        place: max((row["peak_memory"][place] or 0 for row in rows), default=0)
        or None
        for place in ("host", "device")
    }
    for name in ("kept_by_row", "kept_by_time"):
        found = [row[name] for row in rows if name in row]
        result[name] = np.mean(found, axis=0).tolist() if found else None
    sizes = sorted({row["batch_size"] for row in rows})
    result["batch_size"] = sizes[0] if len(sizes) == 1 else sizes
    return result


def _mean(values):
    return float(np.mean(values)) if values else None


def _flops(model, num_frames, rows):
    names = ("num_frames", "text_length", "num_blocks")
    sizes = [
        tuple(({"num_frames": num_frames} | row).get(name) for name in names)
        for row in rows
    ]
    counts = {
        size: model.flops(**dict(zip(names, size)))["total"]
        for size in set(sizes)
    }
    return [counts[size] for size in sizes]


def load_results(folder):
    """Load all results below a folder, sorted by path.

    Args:
        folder: Path or address, such as `output` of `keras_stts.evaluate`.

    Returns:
        List of dicts, see `summarize`.

    Raises:
        ValueError: If a file is damaged.
    """
    paths = sorted(as_path(folder).glob(f"**/{RESULTS}"))
    return [read_json(path) for path in paths]


def as_list(results):
    """Results as a list, also if there is only one."""
    return [results] if isinstance(results, dict) else list(results)


def label(result):
    """The name of a result: its `"label"`, or frames and pruning."""
    frames = f"{result['num_frames']} frames"
    return result.get("label") or f"{frames}, {pruned(result)}"


def pruned(result):
    """The share that was pruned, and the method unless it is only STTS."""
    ratio, inside = result["prune_ratio"], result.get("language_pruning")
    method = _method(result.get("pruning") or "stts")
    words = [f"{ratio:.0%} pruned" + f" by {method}" * (method != "stts")]
    if inside:
        words = words * (ratio > 0) + [_method(inside)]
    return ", ".join(words)


def _method(name):
    """The name of a method, with the ratio if it is a config."""
    if isinstance(name, str):
        return name
    ratio = name["config"].get("ratio")
    words = [] if ratio is None else [f"{ratio:.0%}"]
    return " ".join([name["class_name"], *words])


COSTS = {
    "vision tokens": lambda r: r["vision_tokens"],
    "prompt tokens": lambda r: r["prompt_tokens"],
    "prefill, ms": lambda r: 1e3 * r["prefill_seconds"],
    "decode, ms": lambda r: 1e3 * r["decode_seconds"],
    "prefill, GFLOP": lambda r: r["flops"] / 1e9,
    "host memory, MiB": lambda r: _mebibytes(r["peak_memory"]["host"]),
    "device memory, MiB": lambda r: _mebibytes(r["peak_memory"]["device"]),
}


def _mebibytes(count):
    return None if count is None else count / 2**20


def table(results):
    """Results side by side, as text.

    Args:
        results: Dict that `keras_stts.evaluate` returned, or list of such
            dicts. Results with the same label make a column; `"label"`
            replaces the default label, frames and pruning.

    Returns:
        Str: accuracies in percent with their 95% intervals, and below them the
        figure that a benchmark's authors report instead; unweighted means
        of the short, the long and all published benchmarks of the table, for
        columns with results of all of them; and mean costs. Notes below the
        table say which questions were not counted.

    Raises:
        ValueError: If a column has two results of one benchmark.
    """
    results, columns = as_list(results), {}
    for result in results:
        column = columns.setdefault(label(result), {})
        if result["benchmark"] in column:
            raise ValueError(
                "A column of a table has one result per benchmark. Received: "
                f"two of {result['benchmark']}, {label(result)}. Give one "
                'another "label".'
            )
        column[result["benchmark"]] = result
    names = list(dict.fromkeys(result["benchmark"] for result in results))
    lines = [["", *columns]]
    for name in names:
        cells = [column.get(name) for column in columns.values()]
        lines.append([name, *map(_accuracy, cells)])
        lines += _figure_line(name, cells)
    lines += _mean_lines(results, columns)
    for name, cost in COSTS.items():
        cells = [_mean_of(column, cost) for column in columns.values()]
        if any(cells):
            lines.append([name, *cells])
    return _align(lines) + _notes(results)


def _accuracy(result):
    if result is None or result["accuracy"] is None:
        return "-"
    low, high = (100 * value for value in result["interval"])
    return f"{100 * result['accuracy']:.1f} ({low:.1f}-{high:.1f})"


def _figure_line(name, cells):
    """The first of the figures that a benchmark's authors report."""
    found = [(result or {}).get("figures") or {} for result in cells]
    for first in [figures for figures in found if figures][:1]:
        figure = next(iter(first))
        shares = [figures.get(figure) for figures in found]
        percent = ["-" if s is None else f"{100 * s:.1f}" for s in shares]
        return [[f"{name}, {figure}", *percent]]
    return []


def _mean_lines(results, columns):
    """Means for columns that have all benchmarks of a group in the table."""
    groups = {r["benchmark"]: r["group"] for r in results if r["group"]}
    lines = []
    for group in ("short", "long", "all"):
        names = [n for n, g in groups.items() if group in (g, "all")]
        if len(names) < 2:
            continue
        cells = [_mean_accuracy(column, names) for column in columns.values()]
        lines.append([f"mean of {len(names)}, {group}", *cells])
    return lines


def _mean_accuracy(column, names):
    found = [column.get(name, {}).get("accuracy") for name in names]
    return "-" if None in found else f"{100 * np.mean(found):.1f}"


def _mean_of(column, cost):
    values = [cost(result) for result in column.values() if result["n"]]
    return f"{np.mean(values):,.1f}" if values and None not in values else ""


def _align(lines):
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = (
        [cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(z)]
        for z in (zip(line, widths) for line in lines)
    )
    return "\n".join("  ".join(row).rstrip() for row in rows)


def _notes(results):
    notes = ""
    for result in results:
        where = f"{result['benchmark']}, {label(result)}"
        if result["unreadable"]:
            count = result["unreadable"]
            notes += f"\n{where}: {count} questions about unreadable videos"
        if result["not_asked"]:
            notes += f"\n{where}: {result['not_asked']} questions not asked"
        if result["unparsed"]:
            notes += f"\n{where}: {result['unparsed']:.1%} could not be parsed"
    return notes
