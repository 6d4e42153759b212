"""A video language model on full and on half of its vision tokens.

    python examples/quickstart.py

writes a few clips (mp4), asks `shapes_tiny` about them with none, half and four
fifths of the vision tokens pruned, teaches it in a minute to say "left!" for
"left", and draws the kept blocks into `quickstart.png`. It takes about three
minutes on two cores and downloads nothing. `--small` does less of everything.
"""

import argparse
import contextlib
import os
import time


@contextlib.contextmanager
def quiet():
    """Hides the messages of libraries; errors are still raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with quiet():  # TensorFlow.
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
    rows, models = {}, {}
    for ratio in RATIOS:
        model = keras_stts.VideoVLM.from_preset(
            "shapes_tiny", prune_ratio=ratio
        )
        model.compile(sampler="greedy")
        models[ratio] = model
        print(
            f"  {ratio:.0%} pruned: compiling, then answering",
            end="... ",
            flush=True,
        )
        start = time.perf_counter()
        answers = ask(model, examples, batch_size)
        seconds = time.perf_counter() - start
        right = np.equal(answers, examples["responses"])
        print(f"{right.sum()} of {len(right)} right ({seconds:.0f} s)")
        rows[ratio] = {
            "accuracy": right.mean(),
            "tokens": model.backbone.num_kept_blocks,
            "flops": model.flops()["total"],
        }
    print("  Timing all of them in turns", end="... ", flush=True)
    inputs = {
        name: examples[name][:batch_size] for name in ("videos", "prompts")
    }
    times = keras_stts.benchmark(models, inputs, phases=("prefill",))
    for ratio, row in rows.items():
        row["seconds"] = times[ratio]["prefill"]["median"]
    print("done")
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


def fine_tune(examples, seconds, batch_size=16):
    """Teach the model, half pruned, to answer with conviction."""
    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", prune_ratio=0.5, sequence_length=32
    )
    optimizer = keras_stts.optimizers.PartwiseAdamW(
        2e-3, {"scorer": 0.05, "vision_encoder": 0.05}
    )
    model.compile(optimizer=optimizer, sampler="greedy")
    loud = {**examples, "responses": [f"{a}!" for a in examples["responses"]]}
    asked = {
        name: examples[name][:batch_size] for name in ("videos", "prompts")
    }
    question = asked["prompts"][0]
    print(f"Before: {question} {model.generate(asked)[0]}")
    print("Teaching it to answer with an exclamation mark (compiling first)")
    # The first epoch compiles, and does not count.
    history = model.fit(loud, batch_size=batch_size).history["loss"]
    start = time.perf_counter()
    while len(history) < 2 or time.perf_counter() - start < seconds:
        history += model.fit(loud, batch_size=batch_size).history["loss"]
    answers = model.generate(asked)
    print(f"After: {question} {answers[0]}")
    learnt = sum(answer.endswith("!") for answer in answers)
    losses = f"loss {history[0]:.3f} -> {history[-1]:.3f}"
    verdict = "Learnt" if learnt > len(answers) / 2 else "NOT learnt yet"
    print(
        f"{verdict} in {len(history)} epochs ({losses}): {learnt} of "
        f"{len(answers)} answers end with an exclamation mark."
    )


def draw(clip, path="quickstart.png"):
    """One clip: what is kept at each ratio, and the scores."""
    kept = {}
    for ratio in RATIOS:
        model = keras_stts.VideoVLM.from_preset(
            "shapes_tiny", prune_ratio=ratio
        )
        seen = model.kept_blocks(clip["video"])
        name = f"{ratio:.0%} pruned" if ratio else "Whole"
        kept[name] = seen["kept"]
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
