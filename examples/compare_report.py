"""What `compare_methods.py` found: tables, claims, a picture."""

import datetime
import json
import platform
import subprocess
import sys
import time

import keras
import matplotlib.figure
import numpy as np

from keras_stts.benchmark import make_runs
from keras_stts.datasets import shapes

INK, GREY = "#1f2328", "#6e7781"
COLORS = {
    "STTS": "#3b528b",
    "STTS, auxiliary loss kept": "#7d8fc0",
    "STTS, no auxiliary loss": "#b9c2dd",
    "frame similarity": "#21918c",
    "EVS": "#5a9e3e",
    "VidCom2": "#a5b83a",
    "random": "#6e7781",
    "ToMe": "#8b3b76",
    "FastV": "#c8372d",
    "FastV without RoPE": "#e07a3f",
    "FEATHER": "#e0b03f",
}
BRIEF = ("shape", "first", "where", "count")


class Results:
    """Right answers of all runs, bool (seeds, clips, questions) each."""

    def __init__(self, path):
        rows = map(json.loads, path.read_text().splitlines())
        self.right, self.kept_rows = {}, {}
        for row in rows:
            bits = np.frombuffer(bytes.fromhex(row["right"]), "uint8")
            right = np.unpackbits(bits[:, None], axis=1).astype(bool)
            self.right.setdefault(_key(**row), {})[row["seed"]] = right
            self.kept_rows.setdefault(_key(**row), []).append(row["kept_rows"])

    def __contains__(self, key):
        return key in self.right

    def of(self, key, kinds=shapes.KINDS):
        """Shares (seeds, clips) of the questions of some kinds."""
        asked = [row["kind"] for row in shapes.render("test", 0).questions]
        wanted = np.isin(asked, kinds)
        seeds = self.right[key]
        return np.stack(
            [seeds[seed][:, wanted].mean(1) for seed in sorted(seeds)]
        )

    def rows(self, key):
        return 100 * np.mean(self.kept_rows[key], axis=0)


def _key(
    method,
    ratio_asked=0.0,
    world="still",
    tuned=True,
    frames=shapes.NUM_FRAMES,
    frames_asked=shapes.NUM_FRAMES,
    **_,
):
    return (world, method, tuned, ratio_asked, frames, frames_asked)


def estimate(values):
    """Mean of (seeds, clips) and half its 95% interval, in points.

    Clips and seeds are both drawn by lot.
    """
    values = 100 * np.asarray(values)
    variance = values.mean(0).var(ddof=1) / values.shape[1]
    if len(values) > 1:
        variance += values.mean(1).var(ddof=1) / len(values)
    return float(values.mean()), float(1.96 * variance**0.5)


def shown(found):
    return "{:.1f} ± {:.1f}".format(*found)


def costs(load, names, ratios, clips=8, rounds=9):
    """How many times less a prefill takes, and operations allow.

    Args:
        load: Function of a method and a ratio: a model.
    """
    cases = {("unpruned", 0.0): None}
    cases |= {(name, ratio): None for name in names for ratio in ratios}
    videos = [shapes.render("test", i).frames for i in range(clips)]
    x = {"videos": videos, "fps": 1.0}
    x["prompts"] = ["what shape is the red object?"] * clips
    operations = {}
    for case in cases:
        model = load(*case)
        batch = model.preprocessor.generate_preprocess(x)
        cases[case] = make_runs(model, (batch,), ("prefill",))["prefill"]
        cases[case]()
        length = model.preprocessor.sequence_length
        operations[case] = model.flops(text_length=length)["total"]
    times = {case: [] for case in cases}
    for _ in range(rounds):
        for case, run in cases.items():
            start = time.perf_counter()
            run()
            times[case].append(time.perf_counter() - start)
    whole = ("unpruned", 0.0)
    median = {case: np.median(found) for case, found in times.items()}
    return {
        case: {
            "speedup": float(median[whole] / median[case]),
            "allowed": operations[whole] / operations[case],
        }
        for case in cases
    }


def table(results, names, ratios, world="still", tuned=True, spent=()):
    """Rows of a Markdown table of accuracies."""
    head = " | ".join(f"{ratio:.0%} pruned" for ratio in ratios)
    lines = [f"| right answers, % | {head} |", "|---|" + "---|" * len(ratios)]
    for name in names:
        cells = []
        for ratio in ratios:
            key = _key(name, ratio, world, tuned)
            cell = ""
            if key in results:
                cell = shown(estimate(results.of(key)))
            if cell and (name, ratio) in spent:
                cost = spent[name, ratio]
                cell += " ({speedup:.2f}, {allowed:.2f})".format(**cost)
            cells.append(cell)
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def kinds_table(results, ratio, names, tuned):
    lines = [f"| {ratio:.0%} pruned | " + " | ".join(shapes.KINDS) + " |"]
    lines.append("|---|" + "---|" * len(shapes.KINDS))
    for name in ("unpruned", *names):
        pruned = ratio if name != "unpruned" else 0.0
        key = _key(name, pruned, tuned=tuned or name == "unpruned")
        if key in results:
            cells = [
                shown(estimate(results.of(key, [kind])))
                for kind in shapes.KINDS
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def claims(results):
    """What was expected, and what was found: dicts."""

    def less(one, other, kinds=shapes.KINDS):
        if one in results and other in results:
            return results.of(one, kinds) - results.of(other, kinds)

    def stts(ratio, **options):
        return _key("STTS", ratio, **options)

    whole = _key("unpruned")
    where = ["where"]
    as_is = {"tuned": False}
    long = {"world": "long", "frames": 16, "frames_asked": 16}
    expected = [
        ("unpruned - STTS, 50%", less(whole, stts(0.5)), "at most", 0.7),
        ("STTS - random, 50%", less(stts(0.5), _key("random", 0.5)), "", 0.9),
        ("STTS - random, 80%", less(stts(0.8), _key("random", 0.8)), "", 2.3),
        ("STTS - ToMe, 50%", less(stts(0.5), _key("ToMe", 0.5)), "", 0),
        ("STTS - ToMe, 80%", less(stts(0.8), _key("ToMe", 0.8)), "", 0),
    ]
    for ratio in (0.5, 0.8):
        for rest in (", no auxiliary loss", ", auxiliary loss kept"):
            name = f"STTS{rest}"
            other = _key(name, ratio)
            title = f"STTS - {name}, {ratio:.0%}"
            expected.append((title, less(stts(ratio), other), "", 0))
    for ratio in (0.5, 0.8):
        fastv, feather = (
            _key(name, ratio, **as_is) for name in ("FastV", "FEATHER")
        )
        pairs = (("unpruned", whole, fastv), ("FEATHER", feather, fastv))
        for name, one, other in pairs:
            title = f"{name} - FastV as they are, {ratio:.0%}, where"
            expected.append((title, less(one, other, where), "", 0))
    expected.append(
        (
            "16 frames pruned by half - 8 whole ones, brief events",
            less(stts(0.5, **long), _key("unpruned", world="long"), BRIEF),
            "",
            0,
        )
    )
    return [
        _claim(name, estimate(values), rule or "at least", bound)
        for name, values, rule, bound in expected
        if values is not None
    ]


def _claim(name, found, rule, bound):
    mean, half = found
    if rule == "at most":
        verdict, sure = mean <= bound, mean + half <= bound
    else:
        verdict, sure = mean >= bound, mean - half >= bound
    words = "yes" if sure else "yes, not surely" if verdict else "no"
    return {
        "claim": name,
        "points": [round(mean, 2), round(half, 2)],
        "expected": f"{rule} {bound}",
        "holds": words,
    }


def long_table(results):
    lines = ["| right answers, %, brief events | 8 frames | 12 | 16 |"]
    lines.append("|---|---|---|---|")
    for name, ratio in (("unpruned", 0.0), ("STTS", 0.5)):
        for frames in (8, 16):
            cells = []
            for asked in (8, 12, 16):
                key = _key(name, ratio, "long", True, frames, asked)
                found = key in results
                cells.append(
                    shown(estimate(results.of(key, BRIEF))) if found else ""
                )
            title = f"{name}{f' {ratio:.0%}' if ratio else ''}"
            title += f", trained with {frames}"
            if any(cells):
                lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def draw(results, ratios, names):
    """Accuracy of what was tuned, and where what stays lies."""
    figure = matplotlib.figure.Figure((13, 5.6), dpi=110, layout="compressed")
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    _draw_accuracy(left, results, ratios, names)
    _draw_rows(right, results)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=11, colors=GREY, length=0)
        axis.set_axisbelow(True)
    return figure


def _draw_accuracy(axis, results, ratios, names):
    whole, _ = estimate(results.of(_key("unpruned")))
    for i, name in enumerate(names):
        found = [(r, _key(name, r)) for r in ratios]
        found = [(r, key) for r, key in found if key in results]
        if not found:
            continue
        values = np.array([estimate(results.of(key)) for _, key in found])
        x = np.array([100 * r for r, _ in found]) + 0.5 * (i - len(names) / 2)
        style = dict(color=COLORS[name], linewidth=2, marker="o", capsize=3)
        axis.errorbar(x, values[:, 0], values[:, 1], label=name, **style)
    axis.axhline(whole, color=INK, linestyle=":", linewidth=1.5)
    axis.text(23, whole, "unpruned", size=11, va="bottom", color=INK)
    axis.set_title("Trained through the pruning", loc="left", size=14)
    axis.set_xlabel("tokens pruned, %", size=12, color=INK)
    axis.set_ylabel("right answers, %", size=12, color=INK)
    axis.set_xticks([100 * ratio for ratio in ratios])
    axis.set_xlim(22, 88)
    axis.grid(color="#e6e8ea", linewidth=0.8)
    axis.legend(frameon=False, fontsize=10, loc="lower left")


def _draw_rows(axis, results, ratio=0.5):
    names = ("FastV", "FastV without RoPE", "FEATHER", "random")
    keys = {name: _key(name, ratio, tuned=False) for name in names}
    keys = {name: key for name, key in keys.items() if key in results}
    height = 0.8 / max(1, len(keys))
    for i, (name, key) in enumerate(keys.items()):
        rows = results.rows(key)
        place = np.arange(len(rows)) + height * (i - (len(keys) - 1) / 2)
        style = dict(height=0.9 * height, color=COLORS[name], label=name)
        axis.barh(place, rows, **style)
    axis.invert_yaxis()
    axis.set_yticks(range(shapes.CELLS), [*"abcd"[: shapes.CELLS]])
    axis.set_title(
        f"What stays of each row, {ratio:.0%} pruned", loc="left", size=14
    )
    axis.set_xlabel("tokens kept, %", size=12, color=INK)
    axis.set_ylabel("row of the image", size=12, color=INK)
    axis.set_xlim(0, 100)
    axis.legend(frameon=False, fontsize=10, loc="lower right")


def _commit():
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip()


def main(study, args, methods, untrained, ratios, load):
    """Print and write what was found; see `compare_methods.py`."""
    results = Results(study.results)
    spent = costs(load, methods, ratios)
    found = claims(results)
    whole = [
        f"| unpruned, {world} camera | "
        f"{shown(estimate(results.of(_key('unpruned', world=world))))} |"
        for world in ("still", "moving")
        if _key("unpruned", world=world) in results
    ]
    sections = {
        "Unpruned": ["| right answers, % | |", "|---|---|", *whole],
        "Trained through the pruning (speed-up measured, allowed)": table(
            results, methods, ratios, spent=spent
        ),
        "Not trained through the pruning": table(
            results, untrained, ratios, tuned=False
        ),
        "Moving camera": table(results, methods, (0.5, 0.8), "moving"),
        "By kind, not trained": kinds_table(results, 0.5, untrained, False),
        "By kind, trained": kinds_table(results, 0.8, methods, True),
        "Twice as many frames": long_table(results),
        "Claims": [
            "| | points | expected | holds |",
            "|---|---|---|---|",
            *(
                f"| {row['claim']} | {shown(row['points'])} | "
                f"{row['expected']} | {row['holds']} |"
                for row in found
            ),
        ],
    }
    for title, lines in sections.items():
        print(f"\n{title}\n", *lines, sep="\n")
    record = {
        "command": "python " + " ".join(sys.argv),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {args.processes} CPU cores",
        "backend": keras.config.backend(),
        "settings": {
            "steps": args.steps,
            "seeds": args.seeds,
            "other_seeds": args.other_seeds,
            "test": args.test,
        },
        "tables": sections,
        "claims": found,
    }
    path = args.output / "compare_methods.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    figure = draw(results, ratios, methods)
    figure.savefig(args.output / "compare_methods.png")
