"""Time and memory of an hour of video, seen in chunks and at once.

    python benchmarks/long_video.py --backend torch

writes an hour of small frames, and asks `shapes_tiny` about 1,024 of them at
80%, each way in a process of its own. `--wide` asks a model of random weights
whose frames are as large as Molmo2's, 378 x 378 pixels, and its widths small.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--prune-ratio", type=float, default=0.8)
    parser.add_argument("--chunks", type=int, nargs="*", default=[64, 0])
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = args.backend
    if args.run:
        return run(args)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "hour.mp4")
        write(path, args.seconds)
        for chunk in args.chunks:
            command = [sys.executable, __file__, "--run", path]
            for name in ("backend", "frames", "prune_ratio"):
                option = f"--{name.replace('_', '-')}"
                command += [option, str(getattr(args, name))]
            command += ["--chunks", str(chunk)] + ["--wide"] * args.wide
            subprocess.run(command, check=True)


def write(path, seconds):
    """An hour in which a shape moves once a minute."""
    import numpy as np

    from keras_stts.datasets import shapes

    frames = shapes.render("test", 0, num_frames=60).frames
    repeats = -(-seconds // len(frames))
    frames = np.concatenate([frames] * repeats)[:seconds]
    shapes.write_video(path, frames)


def make_model(args):
    import keras_stts

    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", prune_ratio=args.prune_ratio
    )
    if not args.wide:
        return model
    tokenizer = model.preprocessor.tokenizer
    widths = ("hidden_dim", "num_heads", "head_dim", "intermediate_dim")
    widths = dict(zip(widths, (64, 4, 16, 128)))
    backbone = keras_stts.VideoVLMBackbone.from_sizes(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_frames=args.frames,
        image_size=378,
        patch_size=14,
        vision_num_layers=6,
        vision_feature_layers=[5, 3],
        **{f"vision_{name}": value for name, value in widths.items()},
        **{f"connector_{name}": value for name, value in widths.items()},
        num_layers=2,
        hidden_dim=64,
        num_query_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_dim=128,
        image_patch_id=tokenizer.image_patch_token_id,
        vision_token_ids=tokenizer.vision_token_ids,
        prune_ratio=args.prune_ratio,
    )
    converter = keras_stts.VideoVLMVideoConverter(378, args.frames)
    preprocessor = keras_stts.VideoVLMPreprocessor(
        tokenizer,
        converter,
        num_blocks=backbone.num_blocks,
        sequence_length=64,
        time_tokens=8,
        chat_template=model.preprocessor.chat_template,
    )
    return keras_stts.VideoVLM(backbone, preprocessor)


def run(args):
    (chunk,) = args.chunks
    model = make_model(args)
    model.compile(sampler="greedy")
    before = forget_peak()
    start = time.perf_counter()
    video = model.encode(
        args.run, num_frames=args.frames, chunk_frames=chunk or None, verbose=0
    )
    encoded = time.perf_counter()
    question = {"videos": [video], "prompts": ["what shape is the red object?"]}
    model.generate(question)
    asked = time.perf_counter()
    model.generate(question)
    again = time.perf_counter()
    print(
        f"{args.backend}, {args.frames} frames at {args.prune_ratio:.0%}, "
        f"{f'chunks of {chunk}' if chunk else 'at once'}: read and encoded in "
        f"{encoded - start:.1f} s, first question {asked - encoded:.1f} s, "
        f"second {again - asked:.2f} s; {video.num_tokens:,} tokens, keys and "
        f"values {video.nbytes / 2**20:.0f} MiB; peak memory "
        f"{(memory() - before) / 2**30:.2f} GiB more than the model",
        flush=True,
    )


def forget_peak():
    """Let the largest memory begin anew (Linux); its bytes."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return memory()


def memory():
    """Bytes of the largest memory of this process so far."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    main()
