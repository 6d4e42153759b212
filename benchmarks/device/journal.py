"""What a process that measures tells the one that started it."""

import json
import sys
import time
import traceback

OUT_OF_MEMORY = "out of memory"
# What the frameworks say of it.
SIGNS = ("RESOURCE_EXHAUSTED", "out of memory", "OutOfMemory", "MemoryError")


def emit(**message):
    """One message, one line of JSON on the standard output."""
    print(json.dumps(message), flush=True)


class Clock:
    """Seconds since it was made, and of a budget.

    Args:
        seconds: Number. The budget.
    """

    def __init__(self, seconds):
        self.seconds = seconds
        self._start = time.monotonic()

    def passed(self):
        return time.monotonic() - self._start

    def left(self):
        return self.seconds - self.passed()

    def say(self, text):
        print(f"[{self.passed():6.1f} s] {text}", file=sys.stderr, flush=True)


def status(error):
    """What became of a row, in words: no memory, or the error's own."""
    text = f"{type(error).__name__}: {error}"
    if any(sign in text for sign in SIGNS):
        return OUT_OF_MEMORY
    traceback.print_exception(error, file=sys.stderr)
    return "failed: " + " ".join(text.split())[:300]
