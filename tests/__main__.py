"""Runs the whole test suite once a backend: `python -m tests`."""

import argparse
import os
import subprocess
import sys
import time

BACKENDS = ("jax", "tensorflow", "torch")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    args, rest = parser.parse_known_args()
    failed = []
    for number, backend in enumerate(args.backend or BACKENDS):
        print(f"=== {backend} ===", flush=True)
        start = time.perf_counter()
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        command = [sys.executable, "-m", "pytest", "-q", *rest]
        if number:
            command += ["-m", "not once"]
        code = subprocess.run(command, env=environment).returncode
        print(f"=== {backend}: {time.perf_counter() - start:.0f} s ===")
        if code:
            failed.append(backend)
    if failed:
        sys.exit(f"Failed under: {', '.join(failed)}")


if __name__ == "__main__":
    main()
