"""Runs the whole test suite once a backend: `python -m tests`.

Tests that do not depend on the backend run under the first alone, apart. All
runs go at a time: each waits now and then for a process, a thread or a file, so
that two cores are busy all along. A run takes 3 to 7 GB in the end; PyTorch's,
which compiles nothing, ends long before the others.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

BACKENDS = ("jax", "tensorflow", "torch")
EMPTY = pytest.ExitCode.NO_TESTS_COLLECTED


def plan(backends):
    """List of (name, backend, what pytest is told of marks), a run each."""
    first = backends[0]
    if len(backends) == 1:
        return [(first, first, [])]
    once = (f"once, {first}", first, ["-m", "once"])
    whole, *others = [(name, name, ["-m", "not once"]) for name in backends]
    return [whole, once, *others]


def run(name, backend, arguments, output=None):
    """Run tests under a backend.

    Args:
        name: Str, of the run.
        backend: Str.
        arguments: List of str, for pytest.
        output: Optional file that takes what they print.

    Returns:
        Int, the exit status of pytest.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    print(f"=== {name} ===", file=output, flush=True)
    start = time.perf_counter()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        env=environment,
        stdout=output,
        stderr=output and subprocess.STDOUT,
    ).returncode
    seconds = time.perf_counter() - start
    print(f"=== {name}: {seconds:.0f} s ===", file=output, flush=True)
    return code


def run_apart(name, backend, arguments):
    """As `run`; returns also what they printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        code = run(name, backend, arguments, output)
        output.seek(0)
        return code, output.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    args, rest = parser.parse_known_args()
    runs = [
        (name, backend, [*rest, *marks])
        for name, backend, marks in plan(args.backend or BACKENDS)
    ]
    with ThreadPoolExecutor(len(runs)) as beside:
        later = [beside.submit(run_apart, *other) for other in runs[1:]]
        codes = [run(*runs[0])]
        for end in later:
            code, output = end.result()
            print(output, end="", flush=True)
            codes.append(code)
    failed = [r[0] for r, code in zip(runs, codes) if code not in (0, EMPTY)]
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")
    if set(codes) == {EMPTY}:
        sys.exit("There are no such tests.")


if __name__ == "__main__":
    main()
