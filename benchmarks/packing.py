"""Short samples packed into rows, beside each padded to a row of its own.

    python benchmarks/packing.py --backend jax

times, in one process and in turns, an epoch of train steps on the same
samples of mixed length. Beside the speed-up stands the one that counting
operations allows. The last line is one JSON object.
"""

import argparse
import json
import os
import platform
import time

SIZES = {
    "image_size": 126,
    "patch_size": 14,
    "vision_num_layers": 5,
    "vision_feature_layers": (4, 3),
    "vision_hidden_dim": 256,
    "vision_num_heads": 4,
    "vision_head_dim": 64,
    "vision_intermediate_dim": 1024,
    "prune_layer": 1,
    "connector_hidden_dim": 256,
    "connector_num_heads": 4,
    "connector_head_dim": 64,
    "connector_intermediate_dim": 1024,
    "num_layers": 4,
    "hidden_dim": 384,
    "num_query_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_dim": 1152,
}
TIME_TOKENS = 8


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--segments", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--prune-ratio", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


args = parse_arguments()
os.environ["KERAS_BACKEND"] = args.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_stts  # noqa: E402


def make_samples():
    """Videos of 1 to `frames` frames, most of them short, and questions."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(0.2, args.samples), args.frames)
    lengths[0] = args.frames  # Why rows are that long.
    side, words = SIZES["image_size"], ["what", "moves", "to", "the", "left"]
    return lengths.tolist(), {
        "videos": [
            rng.integers(0, 256, (n, side, side, 3), "uint8") for n in lengths
        ],
        "prompts": [
            " ".join(rng.choice(words, rng.integers(3, 12))) for _ in lengths
        ],
        "responses": [
            " ".join(rng.choice(words, rng.integers(1, 6))) for _ in lengths
        ],
    }


def build(text_length, num_segments):
    tokenizer = keras_stts.VideoVLMTokenizer.from_preset("shapes_tiny")
    converter = keras_stts.VideoVLMVideoConverter(
        SIZES["image_size"], args.frames
    )
    preprocessor = keras_stts.VideoVLMPreprocessor(
        tokenizer,
        converter,
        num_blocks=9,
        sequence_length=text_length,
        time_tokens=TIME_TOKENS,
        num_segments=num_segments,
    )
    backbone = keras_stts.VideoVLMBackbone.from_sizes(
        **SIZES,
        vocabulary_size=tokenizer.vocabulary_size(),
        num_frames=args.frames,
        prune_ratio=args.prune_ratio,
        image_patch_id=tokenizer.image_patch_token_id,
        vision_token_ids=tokenizer.vision_token_ids,
        num_segments=num_segments,
    )
    model = keras_stts.VideoVLM(backbone, preprocessor)
    model.compile(optimizer=keras.optimizers.SGD(1e-4), sampler="greedy")
    return model


def make_batches(model, data):
    """Preprocessed batches of one shape; the last is filled up with rows of
    weight 0."""
    x, y, weights = model.preprocessor(data)
    count = len(y)
    order = np.append(np.arange(count), np.zeros(-count % args.batch, int))
    weights = weights[order]
    weights[count:] = 0
    return [
        ({name: x[name][part] for name in x}, y[part], weights[chosen])
        for chosen in np.arange(len(order)).reshape(-1, args.batch)
        for part in [order[chosen]]
    ]


def epoch(model, batches):
    for batch in batches:
        # It returns the loss as a number: the step is done.
        keras.Model.train_on_batch(model, *batch)


def describe(model, batches):
    rows = args.batch * len(batches)
    inputs = [x for x, _, _ in batches]
    length = inputs[0]["token_ids"].shape[1]
    return {
        "steps": len(batches),
        "frames": rows * args.frames,
        "real_frames": int(sum(x["frame_mask"].sum() for x in inputs)),
        "text_tokens": rows * length,
        "real_text_tokens": int(sum(x["padding_mask"].sum() for x in inputs)),
        "flops": 3 * rows * model.flops()["total"],
    }


def main():
    lengths, x = make_samples()
    longest = build(256, 1).preprocessor.text_lengths(x)
    # Room in proportion: texts of a row have what its frames have.
    rooms = {"padded": max(longest), "packed": 4 * max(longest)}
    rows = keras_stts.data.plan_rows(
        lengths, args.frames, args.segments, longest, rooms["packed"]
    )
    in_rows = {n: [[v[i] for i in row] for row in rows] for n, v in x.items()}
    data = {"padded": x, "packed": in_rows}
    segments = {"padded": 1, "packed": args.segments}
    models = {name: build(rooms[name], segments[name]) for name in data}
    batches = {name: make_batches(models[name], data[name]) for name in data}
    times = {name: [] for name in data}
    for name, model in models.items():
        epoch(model, batches[name][:1])  # Compiled.
    for _ in range(args.rounds):
        for name, model in models.items():
            start = time.perf_counter()
            epoch(model, batches[name])
            times[name].append(time.perf_counter() - start)
    report = {}
    print(f"{args.samples} samples, {len(rows)} rows, {args.backend}")
    for name, model in models.items():
        seconds = float(np.median(times[name]))
        report[name] = describe(model, batches[name])
        report[name] |= {"seconds": seconds, "spread": np.ptp(times[name])}
        words = [f"{key} {value:.4g}" for key, value in report[name].items()]
        print(f"  {name}: {', '.join(words)}")
    padded, packed = report["padded"], report["packed"]
    report |= {
        "speedup": padded["seconds"] / packed["seconds"],
        "operations_allow": padded["flops"] / packed["flops"],
        "frames_allow": padded["frames"] / packed["frames"],
        "backend": args.backend,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "arguments": vars(args),
    }
    print(
        f"  speed-up {report['speedup']:.2f}, operations allow "
        f"{report['operations_allow']:.2f}"
    )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
