"""Apache Beam in the environment of its own."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).with_name("_beam.py")
PACKAGE = pathlib.Path(__file__).parents[2]
LOG_LENGTH = 3000  # Characters of a log that an error shows.
# Those that run on this machine, also if `--runner` is not given.
LOCAL_RUNNERS = (
    "directrunner",
    "bundlebaseddirectrunner",
    "switchingdirectrunner",
    "testdirectrunner",
    "fnapirunner",
    "prismrunner",
)


def is_local(options):
    """Whether Beam's options name a runner of this machine, or none."""
    name = "DirectRunner"
    for option, value in zip(options, [*options[1:], ""]):
        if option == "--runner":
            name = value
        elif option.startswith("--runner="):
            name = option.partition("=")[2]
    return name.split(".")[-1].lower() in LOCAL_RUNNERS


def ask(process, work, request):
    """Tell a process of `running` what to do, and where this package is."""
    request = {
        **request,
        "package": str(PACKAGE),
        "python": sys.executable,
    }
    (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
    with contextlib.suppress(BrokenPipeError):  # It has said why.
        process.stdin.write("\n")
        process.stdin.flush()


@contextlib.contextmanager
def running(python, step, work):
    """Start `_beam.py` for a step in a folder; `ask` says what it is to do.

    Gives its process, whose output names its steps, and waits for its end; on
    an error it is killed.

    Raises:
        RuntimeError: If it fails, with the end of what it said.
    """
    # Nothing of this environment is to be found in the other one, and no
    # module beside the script.
    isolated = "-P" if python == sys.executable else "-I"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with open(
        work / "log.txt", "w+", encoding="utf-8", errors="replace"
    ) as log:
        process = subprocess.Popen(
            [python, isolated, str(SCRIPT), step],
            cwd=work,
            env={**os.environ, **quiet},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if step == "statistics" else log,
            stderr=log,
            text=True,
        )
        with process:
            try:
                yield process
                process.wait()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            log.seek(0)
            raise RuntimeError(
                "TensorFlow Data Validation failed:\n"
                + log.read()[-LOG_LENGTH:]
            )
