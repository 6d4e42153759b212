"""Molmo2-4B at its real size, built and asked on this machine.

    python benchmarks/real_size.py --backend torch

builds the model with random bfloat16 weights (4.9 billion parameters), answers
a prompt about one video of 4 frames with 8 tokens, pruned by half, and prints
times and the peak memory of the process. The last line is one JSON object.
"""

import argparse
import json
import os
import time

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--backend", default="torch")
parser.add_argument("--frames", type=int, default=4)
parser.add_argument("--prune-ratio", type=float, default=0.5)
parser.add_argument("--tokens", type=int, default=8)
args = parser.parse_args()
os.environ["KERAS_BACKEND"] = args.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import process_memory  # noqa: E402
from device.batches import video_batch  # noqa: E402
from molmo2_4b import IDS  # noqa: E402
from molmo2_4b import WHOLE  # noqa: E402

import keras_stts  # noqa: E402

PROMPT = 24


def build():
    backbone = keras_stts.VideoVLMBackbone.from_sizes(
        **WHOLE,
        **IDS,
        num_frames=args.frames,
        prune_ratio=args.prune_ratio,
        dtype="bfloat16",
    )
    model = keras_stts.VideoVLM(backbone)
    model.compile(sampler="greedy")
    return model


def question(model):
    """One video of noise and a prompt of random tokens."""
    length = PROMPT + args.tokens
    x, _, _ = video_batch(model.backbone, args.frames, text=length)
    return {**x, "padding_mask": np.arange(length)[None] < PROMPT}


def main():
    start = time.perf_counter()
    model = build()
    built = time.perf_counter() - start
    print(f"{model.count_params():,} parameters, built in {built:.0f} s")
    x = question(model)
    start = time.perf_counter()
    answer = model.generate(x, stop_token_ids=None)["token_ids"]
    seconds = time.perf_counter() - start
    peak = process_memory.peak() / 1024**3
    tokens = np.asarray(answer)[0, PROMPT:].tolist()
    print(f"answered {tokens} in {seconds:.0f} s, peak {peak:.1f} GiB")
    line = {
        "benchmark": "real_size",
        "backend": args.backend,
        "frames": args.frames,
        "build_seconds": built,
        "answer_seconds": seconds,
        "peak_gib": peak,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
