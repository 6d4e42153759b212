"""What each size of model needs in each setting: the tables of docs/recipes.md.

    python benchmarks/recipes.py

counts memory by `VideoVLM.memory_of`, from sizes alone, and takes times from
the programs in `results/compile.json` that a compiler planned.
"""

import json
import os
import pathlib
import tempfile

from compile_tables import frames_of
from memory import PARTS
from memory import markdown
from memory import on_a_device
from memory import write
from molmo2_4b import IDS
from molmo2_4b import WHOLE
from qwen3_vl import blocks_of

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER.parent / "docs/recipes.md"
ROWS = FOLDER / "results/compile.json"
QWEN = FOLDER.parent / "tests/models/golden/qwen3_vl/instruct/config.json"
FRAMES = (32, 64, 128)
RATIOS = (0.0, 0.5)
# Published sizes, where they are not those of the smallest.
MOLMO2 = {
    "Molmo2-4B": {},
    "Molmo2-8B": {
        "hidden_dim": 4096,
        "intermediate_dim": 12288,
        "connector_intermediate_dim": 12288,
    },
}
QWEN3_VL = {
    "Qwen3-VL-2B": {},
    "Qwen3-VL-4B": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
    },
}
SETTINGS = {
    "answer a question": {"phase": "generate"},
    "answer, int8": {"phase": "generate", "quantization": "int8"},
    "train scorer and connector": {"trainable": PARTS},
    "train LoRA of rank 16": {"trainable": "lora", "lora_rank": 16},
    "the same, int8": {
        "trainable": "lora",
        "lora_rank": 16,
        "quantization": "int8",
    },
    "train all": {"trainable": "all"},
    "train all, on each of 8 chips": {
        "trainable": "all",
        "chips": 8,
        "distribution": "fsdp",
        "batch_size": 8,
    },
}


def preset_of(name, num_frames, folder):
    """What `memory_of` takes, and its arguments for a number of frames."""
    if name in MOLMO2:
        return {**WHOLE, **IDS, **MOLMO2[name], "num_frames": num_frames}, {}
    config = json.loads(QWEN.read_text(encoding="utf-8"))
    config["text_config"].update(QWEN3_VL[name])
    width = config["text_config"]["hidden_size"]
    config["vision_config"]["out_hidden_size"] = width
    path = pathlib.Path(folder, name)
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for other in QWEN.parents[1].glob("*.json"):
        (path / other.name).write_bytes(other.read_bytes())
    pairs = num_frames // 2
    return str(path), {"buckets": [(pairs, blocks_of(pairs))]}


def size_of(name, num_frames, ratio, settings, folder):
    """Bytes of a setting on one device."""
    import keras_stts

    preset, arguments = preset_of(name, num_frames, folder)
    memory = keras_stts.VideoVLM.memory_of(
        preset,
        prune_ratio=ratio,
        text_length=256,
        dtype="bfloat16",
        rematerialize=True,
        device="gpu",
        **arguments,
        **settings,
    )
    return memory["total"]


def table(name, folder):
    """Markdown of a model: settings by frames and ratio."""
    heads = [f"{n} frames, {r:.0%}" for n in FRAMES for r in RATIOS]
    rows = [[name, *heads], ["---"] * (1 + len(heads))]
    for setting, arguments in SETTINGS.items():
        sizes = [
            size_of(name, n, r, arguments, folder)
            for n in FRAMES
            for r in RATIOS
        ]
        rows.append([setting, *map(on_a_device, sizes)])
    return markdown(rows)


def times():
    """Markdown of the train steps that a TPU's compiler estimated."""
    rows = json.loads(ROWS.read_text(encoding="utf-8")).values()
    lines = [
        "| model | chips | trained | frames | removed | videos | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        whole = row["phase"] == "train" and not row["depth"]
        if whole and row.get("seconds"):
            lines.append(
                f"| {row['model']} | {row['chips']} × {row['target']} | "
                f"{row['trainable']} | {frames_of(row)} | {row['ratio']:.0%} | "
                f"{row['batch_size']} | {row['seconds']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main():
    with tempfile.TemporaryDirectory() as folder:
        tables = [table(name, folder) for name in (*MOLMO2, *QWEN3_VL)]
    texts = {"memory": "\n".join(tables), "times": times()}
    write({name: f"\n{text}\n" for name, text in texts.items()}, PAGE)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
