"""What `VideoVLM.memory` counts, beside what compilers plan.

    python benchmarks/memory.py

counts every row of the tables of docs/accelerators.md, `results/compile.json`,
and prints both, in GiB of one chip. The last line is one JSON object.
"""

import argparse
import json
import os
import pathlib

from aot.targets import TARGETS
from compile import sizes

RESULTS = pathlib.Path(__file__).parent / "results/compile.json"
GIB = 1024**3
# What a program is given; the rest it makes.
GIVEN = ("weights", "optimizer", "inputs")
HEAD = ("given", "compiled", "made", "compiled", "total", "compiled", "ratio")


def counted(row):
    """The `Memory` of a row that `benchmarks/compile.py` printed."""
    import keras_stts

    trained = row["trainable"]
    if trained not in ("all", "lora"):
        trained = trained.split(",")
    phase = "fit" if row["phase"] == "train" else row["phase"]
    return keras_stts.VideoVLM.memory_of(
        {**sizes(row["model"], row["depth"]), "num_frames": row["frames"]},
        pruning=row["pruning"],
        prune_ratio=row["ratio"],
        batch_size=row["batch_size"],
        text_length=row["text"],
        phase=phase,
        trainable=trained if phase == "fit" else None,
        lora_rank=row["lora_rank"],
        dtype=row["dtype"],
        quantization=row.get("quantization"),
        rematerialize=row["rematerialize"],
        chips=row["chips"],
        distribution=row["layout"],
        device=TARGETS[row["target"]].kind,
    )


def compare(row):
    """Dict of the bytes that are counted and those that a compiler plans."""
    memory = counted(row)
    given = sum(memory[kind] for kind in GIVEN)
    if row["phase"] == "decode":
        given += memory["caches"]
    if "needs" in row:
        planned = {"total": row["needs"]}
    else:
        planned = {
            "given": row["memory"]["arguments"],
            "made": row["memory"]["total"] - row["memory"]["arguments"],
            "total": row["memory"]["total"],
        }
    total = memory["total"]
    return {
        "counted": {"given": given, "made": total - given, "total": total},
        "compiled": planned,
        "ratio": round(total / planned["total"], 3),
    }


def compare_all(path=RESULTS):
    """Dict of the rows of a file of `compile_tables.py` to `compare`."""
    rows = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return {name: compare(row) for name, row in rows.items()}


def show(found):
    """Print a line for each row."""
    print("".join(f"{name:>9}" for name in HEAD))
    for name, row in found.items():
        cells = [
            row[kind].get(part)
            for part in ("given", "made", "total")
            for kind in ("counted", "compiled")
        ]
        cells = [f"{n / GIB:9.2f}" if n else " " * 9 for n in cells]
        print(f"{''.join(cells)}{row['ratio']:9.2f}  {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default=RESULTS, help="a file of rows")
    found = compare_all(parser.parse_args().rows)
    show(found)
    ratios = [row["ratio"] for row in found.values()]
    report = {"rows": found, "least": min(ratios), "most": max(ratios)}
    print(json.dumps({"benchmark": "memory", **report}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
