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
from molmo2_4b import WHOLE  # noqa: E402

import keras_stts  # noqa: E402

PATCH, START, END = 151938, 151943, 151944
PROMPT, TIME_TOKENS = 24, 8


def build():
    backbone = keras_stts.VideoVLMBackbone(
        **WHOLE,
        num_frames=args.frames,
        image_patch_id=PATCH,
        vision_token_ids=[*range(151936, 151941), *range(151942, 151945)],
        prune_ratio=args.prune_ratio,
        dtype="bfloat16",
    )
    model = keras_stts.VideoVLM(backbone)
    model.compile(sampler="greedy")
    return model


def question(model):
    """One video of noise and a prompt of random tokens."""
    backbone = model.backbone
    rng = np.random.default_rng(0)
    size = backbone.image_size
    frame = [1] * TIME_TOKENS + [START] + [PATCH] * backbone.num_blocks + [END]
    ids = np.array([[0] + frame * args.frames], "int32")
    text = np.zeros((1, PROMPT + args.tokens), "int32")
    text[:, :PROMPT] = rng.integers(0, 1000, PROMPT)
    return {
        "videos": rng.integers(
            0, 256, (1, args.frames, size, size, 3), dtype="uint8"
        ),
        "frame_mask": np.ones((1, args.frames), bool),
        "vision_token_ids": ids,
        "vision_mask": np.ones(ids.shape, bool),
        "token_ids": text,
        "padding_mask": np.arange(PROMPT + args.tokens)[None] < PROMPT,
    }


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
