"""A video language model on full and on half of its vision tokens.

    python examples/quickstart.py

writes a few clips (mp4), asks `shapes_tiny` about them with nothing, half and
four fifths of the vision tokens pruned, fine-tunes it for a minute, and draws
what was kept into `quickstart.png`. About three minutes on two cores, nothing
is downloaded. `--small` does less of everything.
"""

import argparse
import time

import numpy as np

import keras_stts
from keras_stts import visualize
from keras_stts.datasets import shapes

RATIOS = (0.0, 0.5, 0.8)


def load_clips(folder, split, count):
    """Write clips and return their videos, questions and answers."""
    rows = shapes.generate(folder, split, count)
    return {
        "videos": [row["video"] for row in rows],
        "prompts": [row["question"] for row in rows],
        "responses": [row["answer"] for row in rows],
    }


def ask(model, examples, batch_size=32):
    """The model's answers, `batch_size` questions at a time."""
    answers = []
    for start in range(0, len(examples["prompts"]), batch_size):
        part = slice(start, start + batch_size)
        answers += model.generate(
            {name: examples[name][part] for name in ("videos", "prompts")}
        )
    return answers


def compare(examples, batch_size=32):
    """Answer and time at each prune ratio; a dict of rows."""
    inputs = {
        name: examples[name][:batch_size] for name in ("videos", "prompts")
    }
    rows = {}
    for ratio in RATIOS:
        model = keras_stts.VideoVLM.from_preset(
            "shapes_tiny", prune_ratio=ratio
        )
        model.compile(sampler="greedy")
        answers = ask(model, examples, batch_size)
        right = np.equal(answers, examples["responses"])
        timing = keras_stts.benchmark(model, inputs, phases=("prefill",))
        rows[ratio] = {
            "accuracy": right.mean(),
            "tokens": model.backbone.num_kept_blocks,
            "seconds": timing["prefill"]["median"],
            "flops": model.flops()["total"],
        }
        print(f"  {ratio:.0%} pruned: {right.sum()} of {len(right)} right")
    return rows


def print_table(rows):
    whole = rows[0.0]
    print(
        f"\n{'pruned':>7} {'right':>7} {'vision tokens':>14} "
        f"{'ms a batch':>11} {'speed-up':>9} {'counted':>8}"
    )
    for ratio, row in rows.items():
        print(
            f"{ratio:7.0%} {row['accuracy']:7.1%} {row['tokens']:14} "
            f"{1000 * row['seconds']:11.0f} "
            f"{whole['seconds'] / row['seconds']:8.2f}x "
            f"{whole['flops'] / row['flops']:7.2f}x"
        )
    print(
        "'counted' is the speed-up that counting operations allows. The model "
        "is tiny, so\nfixed costs weigh on it; see benchmarks/pruning.py for "
        "real sizes.\n"
    )


def fine_tune(examples, seconds):
    """Teach the model, half pruned, to answer with conviction."""
    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", prune_ratio=0.5, sequence_length=32
    )
    optimizer = keras_stts.optimizers.PartwiseAdamW(
        2e-3, {"scorer": 0.05, "vision_encoder": 0.05}
    )
    model.compile(optimizer=optimizer, sampler="greedy")
    loud = {**examples, "responses": [f"{a}!" for a in examples["responses"]]}
    question = {name: examples[name][0] for name in ("videos", "prompts")}
    print(f"\nBefore: {question['prompts']} {model.generate(question)}")
    # The first epoch compiles, and does not count.
    history = model.fit(loud, batch_size=16).history["loss"]
    start = time.perf_counter()
    while len(history) < 2 or time.perf_counter() - start < seconds:
        history += model.fit(loud, batch_size=16).history["loss"]
    print(f"After: {model.generate(question)}")
    losses = f"{history[0]:.3f} -> {history[-1]:.3f}"
    print(f"Loss in {len(history)} epochs: {losses}")


def draw(clip, path="quickstart.png"):
    """One clip: what is kept at each ratio, and the scores."""
    kept = {}
    for ratio in RATIOS:
        model = keras_stts.VideoVLM.from_preset(
            "shapes_tiny", prune_ratio=ratio
        )
        seen = model.kept_blocks(clip["video"])
        kept[f"{ratio:.0%} pruned"] = seen["kept"]
    figure = visualize.plot_comparison(
        seen["frames"],
        kept,
        scores=seen["scores"],
        timestamps=seen["timestamps"],
        title="What the language model gets to see",
    )
    figure.savefig(path)
    print(f"Wrote {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", default="quickstart_clips")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    number = 2 if args.small else 12
    print(f"Writing clips to {args.clips}/")
    test = load_clips(args.clips, "test", number)
    train = load_clips(args.clips, "train", number)
    print(f"Asking {len(test['prompts'])} questions about {number} mp4 files")
    print_table(compare(test, batch_size=16 if args.small else 32))
    fine_tune(train, seconds=1 if args.small else 45)
    draw(shapes.generate(args.clips, "test", number)[0])


if __name__ == "__main__":
    main()
