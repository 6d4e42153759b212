"""What `VideoVLM.memory` counts, beside what compilers plan.

    python benchmarks/memory.py

counts every row of the tables of docs/accelerators.md, `results/compile.json`,
prints both, in GiB of one chip, and writes the tables of docs/memory.md. The
last line is one JSON object.
"""

import argparse
import json
import os
import pathlib

import qwen3_vl
from aot.targets import TARGETS
from compile import sizes

FOLDER = pathlib.Path(__file__).parent
RESULTS = FOLDER / "results/compile.json"
PAGE = FOLDER.parent / "docs/memory.md"
GIB = 1024**3
# What a program is given; the rest it makes.
GIVEN = ("weights", "optimizer", "inputs")
PARTS = ["scorer", "connector"]
SETTINGS = {
    "answer a question": {"phase": "generate"},
    "answer, int8 weights": {"phase": "generate", "quantization": "int8"},
    "train scorer and connector": {"trainable": PARTS},
    "train LoRA of rank 16 and scorer": {"trainable": "lora"},
    "the same, int8 weights": {"trainable": "lora", "quantization": "int8"},
    "train all but the vision encoder": {
        "trainable": [*PARTS, "language_model"]
    },
    "train all": {"trainable": "all"},
}
FRAMES = (32, 64, 128, 256)
SIZES = (16, 24, 40, 80)
HEAD = ("given", "compiled", "made", "compiled", "total", "compiled", "ratio")


def counted(row):
    """The `Memory` of a row that `benchmarks/compile.py` printed."""
    import keras_stts
    from keras_stts.memory.estimate import count_memory

    trained = row["trainable"]
    if trained not in ("all", "lora"):
        trained = trained.split(",")
    phase = "fit" if row["phase"] == "train" else row["phase"]
    asked = {
        "batch_size": row["batch_size"],
        "text_length": row["text"],
        "phase": phase,
        "trainable": trained if phase == "fit" else None,
        "lora_rank": row["lora_rank"],
        "dtype": row["dtype"],
        "rematerialize": row["rematerialize"],
        "chips": row["chips"],
        "distribution": row["layout"],
        "device": TARGETS[row["target"]].kind,
    }
    model, depth, frames = row["model"], row["depth"], row["frames"]
    method = {"pruning": row["pruning"], "prune_ratio": row["ratio"]}
    if model in qwen3_vl.MODELS:
        parts = qwen3_vl.config_of(model, depth=depth, num_frames=frames)
        if not row["ratio"]:
            method = {"pruning": None}
        return keras_stts.VideoVLM.memory_of(parts, **method, **asked)
    config = {**sizes(model, depth), "num_frames": frames, **method}
    weights = weights_of(
        config, row, () if isinstance(trained, str) else trained
    )
    return count_memory(config, weights, **asked)


def weights_of(config, row, trained):
    """List of `Weight`, integers but those of trained parts; or `None`."""
    from keras_stts.memory import weights
    from keras_stts.models import sizes

    mode = row.get("quantization")
    if mode is None:
        return None
    config = sizes.of_config({**sizes.defaults(), **config})
    kept, rest = [], []
    for weight in weights.weights_of_config(config, row["dtype"]):
        part = weights.part_of_weight(weight)
        (kept if part in trained else rest).append(weight)
    return kept + weights.quantized(rest, mode)


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
    return {n: compare(row) for n, row in rows.items() if not is_apart(row)}


def is_apart(row):
    """Whether it is of what is not counted: see docs/memory.md."""
    several = row["target"] == "v5e" and row["chips"] > 1
    in_loops = several and not row.get("xla")
    return in_loops and row["trainable"] == "all"


def of_settings(num_frames=64, prune_ratio=0.5, **settings):
    """The `Memory` of Molmo2-4B as docs/memory.md asks for it."""
    import keras_stts

    return keras_stts.VideoVLM.memory_of(
        {**sizes("molmo2_4b"), "num_frames": num_frames},
        prune_ratio=prune_ratio,
        text_length=256,
        dtype="bfloat16",
        rematerialize=True,
        lora_rank=16,
        device="gpu",
        **settings,
    )


def table_of_settings():
    """Markdown: what Molmo2-4B takes, in GB."""
    frames = [f"{n} frames" for n in FRAMES]
    rows = [["", "pruned", *frames], ["---"] * (2 + len(FRAMES))]
    for ratio in (0.0, 0.5):
        for name, settings in SETTINGS.items():
            sizes = [of_settings(n, ratio, **settings)["total"] for n in FRAMES]
            rows.append([name, f"{ratio:.0%}", *map(on_a_device, sizes)])
    return markdown(rows)


def on_a_device(size):
    """A cell: gigabytes, and the smallest usual device that has as many."""
    size /= 1e9
    fits = next((f"{n} GB" for n in SIZES if size <= n), "more")
    return f"{size:.1f} ({fits})"


def table_of_rows(found):
    """Markdown: what is counted and what compilers plan, in GiB."""
    rows = [["compiled for", "counted", "compiled", "ratio"], ["---"] * 4]
    for name, row in found.items():
        totals = [row[kind]["total"] / GIB for kind in ("counted", "compiled")]
        totals = [f"{total:.2f}" for total in totals]
        rows.append([f"`{name.strip()}`", *totals, f"{row['ratio']:.2f}"])
    return markdown(rows)


def markdown(rows):
    """A table of rows of cells."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def texts_of_page(found):
    """Dict of the example and the tables of docs/memory.md."""
    example = of_settings(trainable=PARTS)
    return {
        "example": f"```\n{example}\n```\n",
        "settings": table_of_settings(),
        "rows": table_of_rows(found),
    }


def write(texts, path):
    """Put texts by name into their places of a page."""
    page = path.read_text(encoding="utf-8")
    for name, text in texts.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        page = before + begin + text + end + rest.partition(end)[2]
    path.write_text(page, encoding="utf-8")


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
    rows = parser.parse_args().rows
    found = compare_all(rows)
    show(found)
    if rows == RESULTS:
        write(texts_of_page(found), PAGE)
    ratios = [row["ratio"] for row in found.values()]
    report = {"rows": found, "least": min(ratios), "most": max(ratios)}
    print(json.dumps({"benchmark": "memory", **report}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
