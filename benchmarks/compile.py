"""What compilers make of a model on accelerators that are not here.

    python benchmarks/compile.py --target v5p --phase prefill --ratio 0.5
    python benchmarks/compile.py --target h100 --phase train --depth 2 6

compiles what `generate` or `fit` run, the model with weights that take no
memory, and prints the memory by kind, operations, kernels and the largest
buffers. Nothing is run. The last line is one JSON object.

The compilers: the extras `jax` and `compilers`, see docs/start.md.
"""

import argparse
import functools
import json
import os
import sys

import qwen3_vl
from aot import targets
from aot.layouts import LAYOUTS
from molmo2_4b import IDS
from molmo2_4b import WHOLE

MODELS = {"molmo2_4b": {**WHOLE, **IDS}, **dict.fromkeys(qwen3_vl.MODELS)}
PHASES = ("prefill", "decode", "generate", "train")
GIB = 1024**3


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--target", default="v5p", help=", ".join(targets.TARGETS))
    add("--chips", type=int, default=1)
    add("--layout", default="data", choices=LAYOUTS)
    add("--phase", default="prefill", choices=PHASES)
    add("--frames", type=int, default=64)
    add("--ratio", type=float, default=0.5, help="0 prunes nothing")
    add("--pruning", default="stts", help="see keras_stts.pruning")
    add("--trainable", default="all", help="all, lora, or parts, with commas")
    add("--lora-rank", type=int, default=16)
    add("--rematerialize", action="store_true")
    add("--batch-size", type=int, help="default: one a chip")
    add("--text", type=int, default=256, help="tokens of prompt and answer")
    add("--model", default="molmo2_4b", choices=MODELS)
    add("--depth", type=int, nargs=2, metavar=("LANGUAGE", "VISION"))
    add("--dtype", default="bfloat16")
    add("--quantization", choices=("int8",), help="of what is not trained")
    add("--attention", default="auto", help="see keras_stts.config")
    add("--quick", action="store_true", help="TPU: memory is right, not time")
    add(
        "--xla",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another option of the compiler",
    )
    add("--top", type=int, default=8, help="buffers to print")
    return parser.parse_args(argv)


def sizes(model, depth=None):
    """What `make_model` makes a model of, or one with fewer blocks."""
    if model in qwen3_vl.MODELS:
        return functools.partial(qwen3_vl.make_backbone, model, depth=depth)
    found = dict(MODELS[model])
    if depth is not None:
        language, vision = depth
        found["num_layers"] = language
        found["vision_num_layers"] = vision
        last = vision - 1
        found["vision_feature_layers"] = (last, last * 3 // 4)
    return found


def options_of(pairs):
    """Dict of compiler options; numbers and booleans are such.

    Raises:
        ValueError: If there is no "=" in one.
    """
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(
                "An option of the compiler is NAME=VALUE. Received: "
                f"--xla {pair}."
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def run(args):
    """Dict of what was asked for and what came of it."""
    from aot.abstract import make_model
    from aot.abstract import token_lengths
    from aot.contents import forbidden
    from aot.layouts import make_distribution
    from aot.report import compile_step
    from aot.steps import make_step

    target, options = targets.get(args.target), options_of(args.xla)
    devices = targets.devices(target, args.chips)
    distribution = make_distribution(devices, args.layout)
    trainable = args.trainable
    if trainable not in ("all", "lora"):
        trainable = trainable.split(",")
    model = make_model(
        sizes(args.model, args.depth),
        num_frames=args.frames,
        prune_ratio=args.ratio,
        pruning=args.pruning,
        trainable=trainable,
        lora_rank=args.lora_rank,
        dtype=args.dtype,
        quantization=args.quantization,
        rematerialize=args.rematerialize,
        distribution=distribution,
    )
    batch_size = args.batch_size or args.chips
    with targets.force_kernels(target, args.attention):
        step = make_step(model, args.phase, batch_size, args.text)
    report = compile_step(
        step,
        target,
        args.chips,
        distribution,
        args.quick,
        args.attention,
        options,
    )
    lengths = token_lengths(model)
    report["forbidden"] = forbidden(report["buffers"], lengths)
    report["counted_operations"] = counted(model, args, batch_size)
    return {
        "benchmark": "compile",
        **vars(args),
        "batch_size": batch_size,
        "versions": targets.versions(),
        **report,
    }


def counted(model, args, batch_size):
    """What `model.flops` counts of a batch, or `None` of other phases."""
    times = {"prefill": 1, "train": 3}.get(args.phase)
    if times is None:
        return None
    count = model.flops(text_length=args.text)["total"]
    return times * batch_size * count


def show(report, top):
    """Print a report for people."""
    gib = f"{report['chip_memory'] / GIB:.2f} GiB"
    if "needs" in report:
        needs = report["needs"] / GIB
        print(f"does not fit: needs {needs:.2f} of {gib}")
    else:
        total = report["memory"]["total"] / GIB
        word = "fits" if report["fits"] else "does not fit"
        print(f"{word}: {total:.2f} of {gib} on each chip")
        for kind, size in report["memory"].items():
            print(f"  {kind:12} {size / GIB:8.2f} GiB")
        show_costs(report)
    traced = report.get("buffers_are") == "traced"
    print("largest buffers" + " of the program as it was written" * traced)
    for row in report["buffers"][:top]:
        show_row(row)
    print(f"buffers of tokens by tokens: {len(report['forbidden']) or 'none'}")
    for row in report["forbidden"][:top]:
        show_row(row)


def show_costs(report):
    def tera(number):
        return "not said" if number is None else f"{number / 1e12:.2f} T"

    print(
        f"operations {tera(report['operations'])}, counted by the model "
        f"{tera(report['counted_operations'])}, bytes accessed "
        f"{tera(report['bytes_accessed'])}"
    )
    if report["seconds"] is not None:
        print(f"estimated time {report['seconds'] * 1e3:.1f} ms")
    kernels = [f"{n} x {k}" for k, n in report["kernels"].items()]
    print(f"kernels {', '.join(kernels) or 'none'}")
    for row in report["collectives"]:
        size = row["bytes"] * row["count"] / GIB
        print(
            f"  {row['kind']} {row['array']} x {row['count']}: {size:.2f} GiB"
        )


def show_row(row):
    print(
        f"  {row['bytes'] / GIB:6.2f} GiB {row['array']} x {row['count']} "
        f"{row['source'][-60:]}"
    )


def main():
    args = parse()
    try:
        report = run(args)
    except (ValueError, targets.MissingCompiler) as error:
        sys.exit(str(error))
    show(report, args.top)
    report["buffers"] = report["buffers"][: args.top]
    report["forbidden"] = report["forbidden"][: args.top]
    print(json.dumps(report))


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
