"""A backend's tasks in processes, of which one may die without harm."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
WORKER = pathlib.Path(__file__).with_name("worker.py")


def run(backend, names, seconds, options, keep):
    """Run tasks, in a new process after one that died.

    Args:
        backend: Str.
        names: List of str, the tasks in their order.
        seconds: Number. Then the process is ended, whatever it does.
        options: List of str, further arguments of the process.
        keep: Function of a message, called with each as it comes.
    """
    deadline = time.monotonic() + seconds
    while names:
        left = max(1.0, deadline - time.monotonic())
        command = [sys.executable, str(WORKER), "--backend", backend]
        command += ["--seconds", str(left), *options, "--tasks", *names]
        code, done, current = _follow(command, left, keep)
        if code == 0:
            return
        rest = [name for name in names if name not in done]
        if time.monotonic() > deadline - 1:
            for name in rest:
                keep({"row": {"task": name, "status": "skipped: out of time"}})
            return
        text = f"failed: its process ended with code {code}"
        current = current or rest[0]
        keep({"row": {"task": current, "status": text}})
        names = [name for name in rest if name != current]


def _follow(command, seconds, keep):
    """Exit code of a process, the tasks it did, and what it was doing."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment
    )
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    done, current = [], None
    try:
        for line in process.stdout:
            message = _parsed(line)
            if message is None:
                print(line, end="", file=sys.stderr)
            elif "begin" in message:
                current = message["begin"]
            elif "end" in message:
                done.append(message["end"])
                current = None
            else:
                keep(message)
        return process.wait(), done, current
    finally:
        timer.cancel()
        process.kill()


def _parsed(line):
    """The message of a line, or None if something else was printed."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
