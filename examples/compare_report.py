"""Tables, claims and a picture of the results of `compare_methods.py`."""

import datetime
import json
import platform
import subprocess
import time

import keras
import numpy as np

from keras_stts.datasets import shapes
from keras_stts.pictures import drawing
from keras_stts.pictures.drawing import GREY
from keras_stts.pictures.drawing import INK
from keras_stts.timing import make_runs

NAMES = (
    "STTS",
    "ToMe",
    "EVS",
    "random",
    "VidCom2",
    "frame similarity",
    "FastV",
    "FEATHER",
    "FastV without RoPE",
    "STTS, auxiliary loss kept",
    "STTS, no auxiliary loss",
)
LINES = dict(zip(NAMES, drawing.lines()))
SMALL = {**drawing.LEGEND, "fontsize": 10}
BARS = dict(zip(NAMES, drawing.bars()))
BRIEF = ("shape", "first", "where", "count")


class Results:
    """Whether each answer was right, bool (seeds, clips, questions) a run."""

    def __init__(self, path):
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        self.right, self.kept_rows = {}, {}
        for row in rows:
            bits = np.frombuffer(bytes.fromhex(row["right"]), "uint8")
            right = np.unpackbits(bits[:, None], axis=1).astype(bool)
            self.right.setdefault(_key(**row), {})[row["seed"]] = right
            self.kept_rows.setdefault(_key(**row), []).append(row["kept_rows"])

    def __contains__(self, key):
        return key in self.right

    def of(self, key, kinds=shapes.KINDS, seeds=None):
        """Shares (seeds, clips) of right answers to some kinds of question."""
        asked = [row["kind"] for row in shapes.render("test", 0).questions]
        wanted = np.isin(asked, kinds)
        found = self.right[key]
        return np.stack(
            [
                found[seed][:, wanted].mean(1)
                for seed in sorted(found if seeds is None else seeds)
            ]
        )

    def differences(self, one, other, kinds=shapes.KINDS):
        """Differences (seeds, clips) of two methods, of seeds both have."""
        seeds = set(self.right[one]) & set(self.right[other])
        ours, theirs = (self.of(key, kinds, seeds) for key in (one, other))
        return ours - theirs

    def seeds(self):
        """Dict of world, method and training to the number of seeds."""
        counts = {}
        for key, found in self.right.items():
            world, method, tuned, ratio, asked, frames, _ = key
            if ratio == asked:
                name = f"{world}, {method} {ratio:.0%}"
                name += f", trained with {frames}" if tuned else ", as it is"
                counts[name] = len(found)
        return counts

    def rows(self, key):
        return 100 * np.mean(self.kept_rows[key], axis=0)


def _key(
    method,
    ratio=0.0,
    world="still",
    tuned=True,
    frames=shapes.NUM_FRAMES,
    frames_asked=shapes.NUM_FRAMES,
    ratio_asked=None,
    **_,
):
    """Settings of a run but for its seed."""
    if ratio_asked is None:
        ratio_asked = ratio
    return (world, method, tuned, ratio, ratio_asked, frames, frames_asked)


def _long(method, ratio, frames, frames_asked):
    return _key(method, ratio, "long", True, frames, frames_asked)


def estimate(values):
    """Mean of values (seeds, clips), and half its 95% interval, in points.

    The interval counts that both clips and seeds are samples.
    """
    values = 100 * np.asarray(values)
    variance = values.mean(0).var(ddof=1) / values.shape[1]
    if len(values) > 1:
        variance += values.mean(1).var(ddof=1) / len(values)
    return float(values.mean()), float(1.96 * variance**0.5)


def shown(found):
    return "{:.1f} ± {:.1f}".format(*found)


def costs(load, cases, rounds=25, clips=8):
    """How much faster than the first case a prefill is, timed and counted.

    Args:
        load: Function of a world, a method and a ratio that returns a model.
        cases: List of tuples (world, method, ratio, number of frames).
        rounds: Int. How often each case is timed, in turns.
        clips: Int. Number of clips in the batch.

    Returns:
        Dict of each case to a dict of `"speedup"`, by the median time, and
        `"allowed"`, by the number of operations.
    """
    runs, operations = {}, {}
    for world, method, ratio, frames in cases:
        model = load(world, method, ratio)
        videos = [
            shapes.render("test", i, num_frames=frames).frames
            for i in range(clips)
        ]
        x = {"videos": videos, "fps": 1.0}
        x["prompts"] = ["what shape is the red object?"] * clips
        batch = model.preprocessor.generate_preprocess(x)
        # Those of the model: Qwen3-VL's are two of a clip.
        number = int(batch["frame_mask"].sum(-1).max())
        batch = model.preprocessor.shorten(batch, number)
        run = make_runs(model, (batch,), ("prefill",))["prefill"]
        run()
        case = (world, method, ratio, frames)
        length = model.preprocessor.sequence_length
        runs[case] = run
        operations[case] = model.flops(number, text_length=length)["total"]
    times = {case: [] for case in runs}
    for _ in range(rounds):
        for case, run in runs.items():
            start = time.perf_counter()
            run()
            times[case].append(time.perf_counter() - start)
    median = {case: np.median(found) for case, found in times.items()}
    return {
        case: {
            "speedup": float(median[cases[0]] / median[case]),
            "allowed": operations[cases[0]] / operations[case],
        }
        for case in runs
    }


def table(results, names, ratios, world="still", tuned=True, spent={}):
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
            cost = spent.get((world, name, ratio, shapes.NUM_FRAMES))
            if cell and cost:
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
    """List of dicts: what was expected, and what was found."""

    def less(one, other, kinds=shapes.KINDS):
        if one in results and other in results:
            return results.differences(one, other, kinds)

    def stts(ratio, **options):
        return _key("STTS", ratio, **options)

    whole = _key("unpruned")
    where = ["where"]
    as_is = {"tuned": False}
    expected = []
    for world, place in (("still", ""), ("moving", ", moving camera")):
        other = _key("unpruned", world=world)
        values = less(other, stts(0.5, world=world))
        title = f"unpruned - STTS, 50%{place}"
        expected.append((title, values, "at most", 0.7))
        for name, least in (
            ("random", (0.9, 2.3)),
            ("ToMe", (0, 0)),
            ("frame similarity", (0, 0)),
        ):
            for ratio, bound in zip((0.5, 0.8), least):
                other = _key(name, ratio, world)
                values = less(stts(ratio, world=world), other)
                title = f"STTS - {name}, {ratio:.0%}{place}"
                expected.append((title, values, "", bound))
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
    for more, fewer, frames in ((16, 8, 8), (9, 8, 16), (14, 12, 16)):
        title = f"{more} frames pruned by half - {fewer} whole ones"
        if frames == 16:
            title += " of a model trained with 16"
        pruned = _long("STTS", 0.5, 16, more)
        values = less(pruned, _long("unpruned", 0.0, frames, fewer), BRIEF)
        expected.append((title + ", brief events", values, "", 0))
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


def other_ratio(results):
    """Rows of a Markdown table: one set of weights at two ratios."""
    cells = [
        shown(estimate(results.of(key)))
        for ratio in (0.3, 0.5)
        if (key := _key("STTS", 0.5, ratio_asked=ratio)) in results
    ]
    if len(cells) < 2:
        return []
    lines = ["| right answers, % | 30% | 50% |", "|---|---|---|"]
    return [*lines, "| STTS, trained at 50% | " + " | ".join(cells) + " |"]


def long_cases(results, frames_asked):
    """Dict of a title to the runs on long clips, one a number of frames."""
    cases = [
        (method, ratio, frames)
        for method, ratio in (("unpruned", 0.0), ("STTS", 0.5))
        for frames in (8, 16)
    ]
    return {
        f"{name}{f' {ratio:.0%}' if ratio else ''}, trained with {frames}": [
            (name, ratio, frames, asked) for asked in frames_asked
        ]
        for name, ratio, frames in cases
        if _long(name, ratio, frames, frames_asked[0]) in results
    }


def long_table(results, frames_asked, spent):
    """Rows of a Markdown table: brief events, by number of frames shown."""
    head = " | ".join(f"{frames} frames" for frames in frames_asked)
    lines = [f"| right answers, %, brief events | {head} |"]
    lines.append("|---|" + "---|" * len(frames_asked))
    for title, row in long_cases(results, frames_asked).items():
        cells = []
        for name, ratio, frames, asked in row:
            key = _long(name, ratio, frames, asked)
            cost = spent["long", name, ratio, asked]
            cells.append(
                shown(estimate(results.of(key, BRIEF)))
                + f" ({1 / cost['speedup']:.2f}, {1 / cost['allowed']:.2f})"
            )
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def draw(results, ratios, names, frames_asked, spent):
    """Picture of three parts: accuracy of trained methods, of more frames if
    these were tried, and how much of each row of the image stays."""
    has_long = bool(long_cases(results, frames_asked))
    widths = (1.4, 1, 0.8) if has_long else (1.4, 0.8)
    figure = drawing.new_figure((17 * sum(widths) / 3.2, 6.4))
    first, *middle, last = figure.subplots(1, len(widths), width_ratios=widths)
    _draw_accuracy(first, results, ratios, names)
    for axis in middle:
        _draw_frames(axis, results, frames_asked, spent)
    _draw_rows(last, results)
    return figure


def _plain(axis, title, x, y):
    drawing.plain(axis, x, y)
    axis.set_title(title, loc="left", size=14, weight="bold", color=INK)


def _draw_accuracy(axis, results, ratios, names):
    whole, _ = estimate(results.of(_key("unpruned")))
    for i, name in enumerate(names):
        found = [(r, _key(name, r)) for r in ratios]
        found = [(r, key) for r, key in found if key in results]
        if not found:
            continue
        values = np.array([estimate(results.of(key)) for _, key in found])
        x = np.array([100 * r for r, _ in found]) + 0.5 * (i - len(names) / 2)
        style = dict(linewidth=2, capsize=3, markersize=8, **LINES[name])
        axis.errorbar(x, values[:, 0], values[:, 1], label=name, **style)
    axis.axhline(whole, color=INK, linestyle=":", linewidth=1.5)
    right = 100 * ratios[-1] + 8
    axis.text(
        right, whole, "unpruned", size=11, ha="right", va="bottom", color=INK
    )
    title = "Accuracy of models trained with pruning"
    _plain(axis, title, "tokens pruned, %", "right answers, %")
    axis.set_ylim(axis.get_ylim()[0], 100)
    axis.set_xticks([100 * ratio for ratio in ratios])
    # Room for the legend.
    axis.set_xlim(2, right)
    axis.legend(loc="lower left", **SMALL)


def _draw_frames(axis, results, frames_asked, spent):
    for title, row in long_cases(results, frames_asked).items():
        name, _, frames, _ = row[0]
        x = [1 / spent["long", n, r, a]["allowed"] for n, r, _, a in row]
        found = [estimate(results.of(_long(*case), BRIEF)) for case in row]
        values = np.array(found)
        whole = {"color": GREY, "marker": "X"}
        style = {**LINES.get(name, whole), "linewidth": 2, "capsize": 3}
        style["linestyle"] = "-" if frames == 16 else ":"
        axis.errorbar(x, values[:, 0], values[:, 1], label=title, **style)
    title = "More frames, brief events"
    cost = "operations, of those of 8 whole frames"
    _plain(axis, title, cost, "right answers, %")
    axis.set_ylim(top=min(100, axis.get_ylim()[1]))
    axis.legend(loc="lower right", **SMALL)


def _draw_rows(axis, results, ratio=0.5):
    names = ("FastV", "FastV without RoPE", "FEATHER", "random")
    keys = {name: _key(name, ratio, tuned=False) for name in names}
    keys = {name: key for name, key in keys.items() if key in results}
    height = 0.8 / max(1, len(keys))
    for i, (name, key) in enumerate(keys.items()):
        rows = results.rows(key)
        place = np.arange(len(rows)) + height * (i - (len(keys) - 1) / 2)
        style = dict(height=0.9 * height, label=name, **BARS[name])
        axis.barh(place, rows, **style)
    title = f"Tokens left, {ratio:.0%} pruned"
    _plain(axis, title, "tokens kept, %", "row of the image, from the top")
    axis.invert_yaxis()
    axis.set_yticks(range(shapes.CELLS), [*"abcd"[: shapes.CELLS]])
    axis.set_xlim(0, 100)
    axis.legend(loc="lower right", **{**SMALL, "handlelength": 1})


def _commit():
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip()


def main(study, methods, untrained, frames_asked, load):
    """Print the tables and write them with the picture."""
    args, results = study.args, Results(study.results)
    ratios = args.family.studied
    cases = [("unpruned", 0.0)] + [(n, r) for n in methods for r in ratios]
    eight = shapes.NUM_FRAMES
    spent = costs(load, [("still", *case, eight) for case in cases])
    long = long_cases(results, frames_asked).values()
    long = [("long", n, r, asked) for row in long for n, r, _, asked in row]
    if long:
        spent |= costs(load, list(dict.fromkeys(long)))
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
        "Moving camera": table(results, methods, ratios[1:], "moving"),
        "By kind, not trained": kinds_table(results, 0.5, untrained, False),
        "By kind, trained": kinds_table(results, ratios[-1], methods, True),
        "Twice as many frames (time, operations of 8 whole ones)": long_table(
            results, frames_asked, spent
        ),
        "STTS, trained at 50%, asked at another ratio": other_ratio(results),
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
    sections = {t: lines for t, lines in sections.items() if len(lines) > 2}
    for title, lines in sections.items():
        print(f"\n{title}\n", *lines, sep="\n")
    record = {
        "command": "python examples/compare_methods.py",
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {args.processes} CPU cores",
        "backend": keras.config.backend(),
        "settings": {
            "preset": args.family.preset,
            "steps": args.steps,
            "seeds": results.seeds(),
            "test": args.test,
        },
        "tables": sections,
        "claims": found,
    }
    path = args.output / "compare_methods.json"
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    figure = draw(results, ratios, methods, frames_asked, spent)
    figure.savefig(args.output / "compare_methods.png")
