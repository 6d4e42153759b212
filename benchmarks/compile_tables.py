"""The tables of docs/accelerators.md, compiled anew.

    python benchmarks/compile_tables.py

runs `benchmarks/compile.py` for each row that `results/compile.json` does not
hold yet (`--again`: for each), and writes the tables.
"""

import argparse
import json
import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parent
RESULTS = FOLDER / "results/compile.json"
PAGE = FOLDER.parent / "docs/accelerators.md"
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"
GIB = 1024**3
SMALL = "--depth 2 6"
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
        "--target h100 --frames 32 --phase train --rematerialize --trainable "
        "scorer,connector",
        "--target l4 --phase train --rematerialize --trainable lora",
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
    ],
}
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


def compile_row(arguments):
    """Dict that `compile.py` prints; an error is one, too."""
    command = [sys.executable, FOLDER / "compile.py", *arguments.split()]
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
    layout = f", {report['layout']}" if report["chips"] > 1 else ""
    start = [
        f"{report['chips']} × {report['target']}{layout}",
        str(report["frames"]),
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


def table(reports):
    """Markdown of reports."""
    rows = [HEAD, ["---"] * len(HEAD), *map(cells, reports)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write(results):
    """Put the tables in their page."""
    text = ""
    for title, rows in ROWS.items():
        there = [results[row] for row in rows if "memory" in _of(results, row)]
        refused = [results[row] for row in rows if "needs" in _of(results, row)]
        text += f"### {title}\n\n{table(there + refused)}\n"
    used = next(iter(results.values()), {}).get("versions", {})
    text += f"By {', '.join(f'{n} {v}' for n, v in used.items())}.\n"
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + text + END + after, encoding="utf-8")


def _of(results, row):
    return results.get(row, {})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--only", default="", help="rows that hold this")
    args = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    results = {}
    if RESULTS.exists():
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    every = [row for rows in ROWS.values() for row in rows]
    results = {row: results[row] for row in every if row in results}
    for row in every:
        if args.only in row and (args.again or row not in results):
            report = compile_row(row)
            print(row, report.get("error", ""), flush=True)
            if "error" not in report:
                results[row] = report
                text = json.dumps(results, indent=1)
                RESULTS.write_text(text + "\n", encoding="utf-8")
    write(results)


if __name__ == "__main__":
    main()
