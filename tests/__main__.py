"""Runs the whole test suite once a backend: `python -m tests`.

The first backend runs every test; the others, one after the other beside it,
those that depend on the backend. Most tests keep one core busy.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

BACKENDS = ("jax", "tensorflow", "torch")


def run(backend, arguments, output=None):
    """Run the tests under a backend.

    Args:
        backend: Str.
        arguments: List of str, for pytest.
        output: Optional file that takes what they print.

    Returns:
        Bool, whether they passed.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    print(f"=== {backend} ===", file=output, flush=True)
    start = time.perf_counter()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        env=environment,
        stdout=output,
        stderr=output and subprocess.STDOUT,
    ).returncode
    seconds = time.perf_counter() - start
    print(f"=== {backend}: {seconds:.0f} s ===", file=output, flush=True)
    return code == 0


def run_apart(backend, arguments):
    """As `run`; returns also what they printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        passed = run(backend, [*arguments, "-m", "not once"], output)
        output.seek(0)
        return passed, output.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    args, rest = parser.parse_known_args()
    first, *others = args.backend or BACKENDS
    with ThreadPoolExecutor(1) as beside:
        later = [beside.submit(run_apart, name, rest) for name in others]
        passed = {first: run(first, rest)}
        for name, result in zip(others, later):
            passed[name], output = result.result()
            print(output, end="", flush=True)
    failed = [name for name, well in passed.items() if not well]
    if failed:
        sys.exit(f"Failed under: {', '.join(failed)}")


if __name__ == "__main__":
    main()
