"""Time and memory of loading a Molmo2 checkpoint, beside safetensors' own.

    python benchmarks/loading.py --backend jax

writes a checkpoint of random bfloat16 weights in Molmo2's published layout to a
temporary folder, then reads it in processes of their own and in turns: with
safetensors alone, every tensor, and with `VideoVLM.from_preset`, whose time
includes building the model. Memory is the peak of the process less what it had
after its imports, over the size of the weights. The last line is one JSON
object.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import process_memory
from molmo2_4b import WIDTHS

SIZES = {
    **WIDTHS,
    "vocabulary_size": 32000,
    "num_frames": 8,
    "vision_num_layers": 12,
    "vision_feature_layers": [11, 8],
    "image_patch_id": 32002,
    "vision_token_ids": list(range(32000, 32008)),
}
LAYER_BYTES = 0.2e9


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--gigabytes", type=float, default=2.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to write; temporary if left")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    return parser.parse_args()


args = parse_arguments()
os.environ["KERAS_BACKEND"] = args.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def write(folder):
    """A checkpoint of two files; returns the bytes of its weights."""
    import ml_dtypes
    import numpy as np
    from aot.abstract import abstract_variables
    from safetensors.numpy import save_file

    import keras_stts
    from keras_stts.formats.molmo2.export import transformers_config
    from keras_stts.formats.molmo2.weights import backbone_table
    from keras_stts.formats.molmo2.weights import head_table

    layers = max(1, round((args.gigabytes * 1e9 - 0.8e9) / LAYER_BYTES))
    with abstract_variables():
        backbone = keras_stts.VideoVLMBackbone.from_sizes(
            **SIZES, num_layers=layers, dtype="bfloat16"
        )
        model = keras_stts.VideoVLM(backbone, compile=False)
    shapes = {}
    for names, variables in {
        **backbone_table(backbone),
        **head_table(model),
    }.items():
        flips = [v.shape[::-1] if v.name == "kernel" else v.shape
                 for v in variables]  # fmt: skip
        rows = [sum(shape[0] for shape in flips)]
        if len(names) == 2:  # The embeddings of text and of vision tokens.
            rows = [SIZES["vocabulary_size"], 128]
        for name, count in zip(names, rows):
            shapes[name] = (count, *flips[0][1:])
    config = transformers_config(backbone)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, max(map(np.prod, shapes.values())))
    noise = noise.astype(ml_dtypes.bfloat16)
    index, total, names = {}, 0, list(shapes)
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        tensors = {n: noise[: np.prod(shapes[n])] for n in part}
        tensors = {n: t.reshape(shapes[n]) for n, t in tensors.items()}
        save_file(tensors, folder / file)
        index.update(dict.fromkeys(part, file))
        total += sum(t.nbytes for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index}), encoding="utf-8"
    )
    print(json.dumps({"bytes": total, "layers": layers}))


def read(folder, how):
    """Read a checkpoint; print seconds and bytes of memory at the peak."""
    import keras

    import keras_stts

    keras.ops.zeros((1,))
    before = process_memory.resident()
    start = time.perf_counter()
    if how == "safetensors":
        from safetensors.numpy import load_file

        held = [load_file(path) for path in folder.glob("*.safetensors")]
        count = sum(t.size for tensors in held for t in tensors.values())
    else:
        held = keras_stts.VideoVLM.from_preset(folder, dtype="bfloat16")
        count = held.count_params()
        last = keras.ops.cast(held.weights[-1], "float32")
        float(keras.ops.convert_to_numpy(keras.ops.sum(last)))
    seconds = time.perf_counter() - start
    peak = process_memory.peak()
    print(
        json.dumps(
            {"seconds": seconds, "peak": peak - before, "count": int(count)}
        )
    )


def run(folder, how):
    command = [sys.executable, __file__, "--backend", args.backend]
    command += ["--folder", str(folder), "--read", how]
    command += ["--gigabytes", str(args.gigabytes)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(out.stdout.strip().split("\n")[-1])


def compare(folder):
    size = run(folder, "write")
    print(f"{size['bytes'] / 1e9:.2f} GB, {args.backend}", flush=True)
    results = {"safetensors": [], "from_preset": []}
    for _ in range(args.rounds):
        for how, rows in results.items():
            rows.append(run(folder, how))
    line = {"benchmark": "loading", "backend": args.backend, **size}
    for how, rows in results.items():
        seconds = statistics.median(row["seconds"] for row in rows)
        memory = max(row["peak"] for row in rows) / size["bytes"]
        print(f"  {how:12} {seconds:6.2f} s, peak {memory:.2f} x the weights")
        line[how] = {"seconds": seconds, "memory": memory}
    print(json.dumps(line))


def main():
    if args.read == "write":
        write(pathlib.Path(args.folder))
    elif args.read:
        read(pathlib.Path(args.folder), args.read)
    else:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            compare(pathlib.Path(folder))


if __name__ == "__main__":
    main()
