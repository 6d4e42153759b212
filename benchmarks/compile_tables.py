"""The tables of docs/accelerators.md, compiled anew.

    python benchmarks/compile_tables.py

runs `benchmarks/compile.py` for each row that `results/compile.json` does not
hold yet (`--again`: for each), `benchmarks/compile_layer.py` for those of
`results/compile_layer.json`, and writes the tables.
"""

import argparse
import json
import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER.parent / "docs/accelerators.md"
MIB, GIB = 1024**2, 1024**3
SMALL = "--depth 2 6"
QWEN = "--model qwen3_vl_"
IN_ONE = "--xla xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000"
ROWS = {
    "Prefill": [
        *(
            f"--target h100 --frames {frames} --ratio {ratio}"
            for frames in (64, 128, 256)
            for ratio in (0, 0.5)
        ),
        *(
            f"--target v5p --frames {frames} --ratio {ratio}"
            for frames in (64, 128, 256)
            for ratio in (0, 0.5)
        ),
        *(
            f"--target v5e --frames {frames} --ratio {ratio} --quick"
            for frames in (64, 256)
            for ratio in (0, 0.5)
        ),
        "--target l4 --frames 64 --ratio 0.5",
        "--target a100 --frames 64 --ratio 0.5",
    ],
    "Train step": [
        *(
            f"--target h100 --phase train --ratio {ratio} {SMALL} {more}"
            for ratio in (0, 0.5)
            for more in ("", "--rematerialize")
        ),
        *(
            f"--target h100 --phase train --rematerialize --trainable {parts}"
            for parts in ("scorer,connector", "lora", "all")
        ),
        *(
            "--target h100 --phase train --rematerialize --ratio 0 "
            f"--trainable {parts}"
            for parts in ("lora", "all")
        ),
        "--target h100 --frames 32 --phase train --rematerialize --trainable "
        "scorer,connector",
        "--target l4 --phase train --rematerialize --trainable lora",
        "--target v5e --frames 32 --phase train --rematerialize --quick "
        "--trainable scorer,connector --quantization int8",
        f"--target v5p --phase train --rematerialize --quick {SMALL}",
    ],
    "Train step over several chips": [
        "--target h100 --chips 8 --layout fsdp --phase train --rematerialize "
        f"{SMALL}",
        *(
            f"--target {target} --chips {chips} --layout fsdp --phase train "
            f"--rematerialize --quick {depth}"
            for target, chips in (("v5e", 8), ("v6e", 4), ("v5p", 4))
            for depth in (SMALL, "")
        ),
        *(
            f"--target v5e --chips 8 --layout {layout} --phase train "
            f"--rematerialize --quick --trainable {parts}"
            for layout, parts in (("both", "all"), ("fsdp", "lora"))
        ),
        # Products of whole weights, not of parts of them in loops.
        *(
            "--target v5e --chips 8 --layout fsdp --phase train "
            f"--rematerialize --quick {depth} {IN_ONE}"
            for depth in (SMALL, "")
        ),
    ],
}
# Of Qwen3-VL, whose frames are pairs of the video's.
ROWS |= {
    f"Qwen3-VL-{size.upper()}, prefill": [
        f"{QWEN}{size} --target {target} --frames {pairs} --ratio {ratio}"
        for target in ("v5p", "h100")
        for pairs in (16, 32, 64, 128)
        for ratio in (0, 0.5)
    ]
    for size in ("2b", "4b")
}
ROWS["Qwen3-VL, train step"] = [
    f"{QWEN}{size} --target {target} --frames 32 --phase train --rematerialize "
    f"--trainable {parts} --quick"
    for size, target, parts in (
        ("2b", "v5e", "scorer,connector"),
        ("2b", "v5e", "lora"),
        ("2b", "v5p", "all"),
        ("4b", "v5p", "scorer,connector"),
        ("4b", "v5p", "lora"),
    )
]
LAYERS = ["--target v5p", "--target v5p --gradient"]
HEAD = (
    "chips",
    "frames",
    "pruned",
    "blocks",
    "trained",
    "arguments",
    "temporaries",
    "takes, of GiB",
    "estimated",
    "fused attention, runs",
    "tokens by tokens",
)
SPEED_HEAD = (
    "model",
    "frames",
    "whole",
    "50% pruned",
    "speed-up",
    "counted",
    "temporaries",
)
LAYER_HEAD = ("chip", "run", "pruned", "estimated", "moved", "temporaries")
LAYER_KEYS = ("seconds", "bytes_accessed", "temporaries")


def compile_row(arguments, program="compile.py"):
    """Dict that a program prints; an error is one, too."""
    command = [sys.executable, FOLDER / program, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def cells(report):
    """List of str, as `HEAD`."""
    depth = report["depth"] or ["all", "all"]
    trained = "" if report["phase"] != "train" else report["trainable"]
    if report["rematerialize"]:
        trained += ", rematerialised"
    if report.get("quantization"):
        trained += f", {report['quantization']}"
    if report.get("xla"):
        trained += ", `--xla`"
    layout = f", {report['layout']}" if report["chips"] > 1 else ""
    start = [
        f"{report['chips']} × {report['target']}{layout}",
        str(frames_of(report)),
        f"{report['ratio']:.0%}",
        f"{depth[0]} + {depth[1]}" if report["depth"] else "all",
        trained,
    ]
    chip = f"{report['chip_memory'] / GIB:.1f}"
    pairs = str(len(report["forbidden"]) or "none")
    if "needs" in report:
        needs = f"**{report['needs'] / GIB:.1f}**, of {chip}"
        return [*start, "", "", needs, "", "", pairs]
    memory = {k: v / GIB for k, v in report["memory"].items()}
    total = f"{memory['total']:.1f}"
    total = total if report["fits"] else f"**{total}**"
    seconds = report["seconds"]
    time = "" if seconds is None or report["quick"] else f"{seconds * 1e3:.0f}"
    fused = sum(n for k, n in report["kernels"].items() if "fmha" in k)
    fused += sum(n for k, n in report["kernels"].items() if "tpu_custom" in k)
    return [
        *start,
        f"{memory['arguments']:.2f}",
        f"{memory['temporaries']:.2f}",
        f"{total}, of {chip}",
        time and f"{time} ms",
        str(fused or "none"),
        pairs,
    ]


def cells_of_layer(report):
    """List of rows as `LAYER_HEAD`, each beside the whole layer's."""
    whole = report["rows"]["whole"]
    run = "and backward" if report["gradient"] else "forward"
    rows = []
    for name, row in report["rows"].items():
        texts = [
            f"{row['seconds'] * 1e3:.2f} ms",
            f"{row['bytes_accessed'] / 1e9:.2f} GB",
            f"{row['temporaries'] / MIB:,.0f} MiB",
        ]
        if row is not whole:
            shares = [row[key] / whole[key] for key in LAYER_KEYS]
            texts = [f"{t} ({n:.2f})" for t, n in zip(texts, shares)]
        pruned = "0%" if row is whole else name
        rows.append([report["target"], run, pruned, *texts])
    return rows


def frames_of(report):
    """Frames of the video; Qwen3-VL's frames are two each."""
    return report["frames"] * (1 + report.get("model", "").startswith("qwen"))


def speed_ups(results):
    """Markdown of whole prefills beside pruned ones, where times are known."""
    found = {}
    for report in results.values():
        known = report.get("seconds") and report.get("counted_operations")
        if report["phase"] == "prefill" and known and not report["quick"]:
            case = report["model"], frames_of(report)
            found.setdefault(case, {})[report["ratio"]] = report
    rows = []
    for (model, frames), pair in sorted(found.items()):
        if set(pair) != {0.0, 0.5}:
            continue
        whole, half = pair[0.0], pair[0.5]
        times = [f"{each['seconds'] * 1e3:.0f} ms" for each in (whole, half)]
        speed_up = whole["seconds"] / half["seconds"]
        counted = whole["counted_operations"] / half["counted_operations"]
        kept = [each["memory"]["temporaries"] for each in (half, whole)]
        rows.append(
            [model, str(frames), *times, f"{speed_up:.2f}", f"{counted:.2f}"]
            + [f"{kept[0] / kept[1]:.2f} of the whole"]
        )
    return table(SPEED_HEAD, rows)


def table(head, rows):
    """Markdown."""
    rows = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def tables(results):
    """Markdown of what `compile.py` found."""
    text = ""
    for title, names in ROWS.items():
        rows = [results[name] for name in names if name in results]
        if not rows:
            continue  # Not compiled yet.
        rows.sort(key=lambda row: "needs" in row)
        text += f"### {title}\n\n{table(HEAD, map(cells, rows))}\n"
    return text + versions(results)


def table_of_layers(results):
    """Markdown of what `compile_layer.py` found."""
    rows = [row for r in results.values() for row in cells_of_layer(r)]
    return f"{table(LAYER_HEAD, rows)}\n{versions(results)}"


def versions(results):
    """A line of what decides how programs come out."""
    used = next(iter(results.values()), {}).get("versions", {})
    return f"By {', '.join(f'{n} {v}' for n, v in used.items())}.\n"


def write(name, text):
    """Put a text in its place of the page."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text(before + begin + text + end + after, encoding="utf-8")


def update(program, every, args):
    """Dict of rows to what a program found, kept in a file of its name.

    Args:
        program: Str.
        every: List of str, the arguments of all rows.
        args: `--again` and `--only`.
    """
    path = (FOLDER / "results" / program).with_suffix(".json")
    path.parent.mkdir(exist_ok=True)
    results = {}
    if path.exists():
        results = json.loads(path.read_text(encoding="utf-8"))
    results = {row: results[row] for row in every if row in results}
    for row in every:
        if args.only in row and (args.again or row not in results):
            report = compile_row(row, program)
            print(row, report.get("error", ""), flush=True)
            if "error" not in report:
                results[row] = report
                text = json.dumps(results, indent=1)
                path.write_text(text + "\n", encoding="utf-8")
    return {row: results[row] for row in every if row in results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--only", default="", help="rows that hold this")
    args = parser.parse_args()
    every = [row for rows in ROWS.values() for row in rows]
    results = update("compile.py", every, args)
    write("tables", tables(results))
    write("speed-ups", speed_ups(results))
    write("layers", table_of_layers(update("compile_layer.py", LAYERS, args)))


if __name__ == "__main__":
    main()
