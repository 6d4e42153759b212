"""What pruning saves on this machine's accelerator, in some minutes.

    python benchmarks/accelerator.py --minutes 9

checks first that all is right there: the golden cases of the tests, and
attention, forward and backward, beside plain float32. Meanwhile JAX compiles
what is timed first. Then it times, in turns and compiled, a vision block,
prefill, decoding and train step of Molmo2-4B (random weights), whole and
pruned, and transformers' Molmo2 and the published packing beside them. What
does not fit the time or the memory is said and left out. `docs/benchmarks.md`
says how to read what comes out.

Needs no network. Results are written as they come.
"""

import argparse
import functools
import os
import pathlib
import platform
import runpy
import sys
import time

from device import processes
from device import report
from device import tasks

# Parts of the time that each has: JAX compiles. What one leaves of its part
# is the next one's.
BACKENDS = {"jax": 13, "torch": 7}
RESULTS = pathlib.Path(__file__).with_name("results")
# Run, not imported: the package wants a backend, and only workers have one.
VERSION = pathlib.Path(__file__).parents[1] / "keras_stts" / "version.py"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TASK",
        help="tasks to do, by the first word of their names: "
        + ", ".join(dict.fromkeys(_first_words("torch"))),
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="a small model, and no care for the time that is left",
    )
    parser.add_argument("--output", type=pathlib.Path, help="the JSON file")
    args = parser.parse_args()
    args.backends = args.backends or list(BACKENDS)
    known = set(_first_words("torch"))
    if args.only and not set(args.only) <= known:
        parser.error(
            f"--only takes of {', '.join(sorted(known))}. Received: "
            f"{', '.join(args.only)}."
        )
    return args


def _first_words(backend, short=False):
    return [name.split(" ")[0] for name in tasks.names(backend, short)]


def facts(args):
    return {
        "benchmark": "accelerator",
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "keras_stts": runpy.run_path(str(VERSION))["__version__"],
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "arguments": {name: str(value) for name, value in vars(args).items()},
    }


def main():
    args = parse_arguments()
    start = time.monotonic()
    name = time.strftime("accelerator_%Y%m%d_%H%M%S.json")
    kept = report.Report(args.output or RESULTS / name, facts(args))
    options = ["--rounds", str(args.rounds)] + ["--short"] * args.short
    for i, backend in enumerate(args.backends):
        names = [
            name
            for name in tasks.names(backend, args.short)
            if not args.only or name.split(" ")[0] in args.only
        ]
        left = 60 * args.minutes - (time.monotonic() - start)
        parts = [BACKENDS[name] for name in args.backends[i:]]
        share = left * parts[0] / sum(parts)
        keep = functools.partial(kept.keep, backend)
        processes.run(backend, names, share, options, keep)
    print(report.markdown(kept.result))
    print(f"\nKept in {kept.path}")
    wrong = report.wrong(kept.result["rows"])
    if wrong:
        sys.exit(f"{len(wrong)} checks found something wrong")


if __name__ == "__main__":
    main()
