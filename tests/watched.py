"""Inputs that might crash, hang or fill the memory, in a process apart."""

import collections
import multiprocessing
import sys
import time

MEMORY = 2**30  # Bytes that an input may need at most.
BAD = ("crash", "hang", "memory")


def watched(function, inputs, seconds=20.0):
    """Yield (name, what `function` says of it, seconds) for each input.

    Args:
        function: Function of a module, of an input, that returns a str.
        inputs: Iterable of (name, input); `None` is a harmless input.
        seconds: Number. How long an input may take.
    """
    server = None
    for name, value in inputs:
        if server is None:
            context = multiprocessing.get_context("spawn")
            pipe, end = context.Pipe()
            server = context.Process(
                target=_serve, args=(end, function), daemon=False
            )
            server.start()
            end.close()
            pipe.send(None)
            pipe.recv()  # It has imported what it needs.
        start = time.monotonic()
        pipe.send(value)
        result = "hang"
        try:
            if pipe.poll(seconds):
                result = pipe.recv()
        except EOFError:
            result = "crash"
        yield name, result, time.monotonic() - start
        if result in ("hang", "crash"):
            server.kill()
            server.join()
            server = None
    if server is not None:
        pipe.close()
        server.join()


def print_table(results, good):
    """Count results, name what is not good, and return how many of these."""
    counts, slowest = collections.Counter(), collections.Counter()
    for name, result, seconds in results:
        kind = result.partition(":")[0]
        counts[kind] += 1
        slowest[name] = seconds
        if kind not in good:
            print(f"{name}: {result}", flush=True)
    print(f"\n{counts.total():>6} inputs")
    for kind, count in counts.most_common():
        print(f"{count:>6} {kind}")
    for kind in BAD:
        if not counts[kind]:
            print(f"     0 {kind}")
    name, seconds = slowest.most_common(1)[0]
    print(f"slowest: {name}, {seconds:.1f} s")
    return sum(n for kind, n in counts.items() if kind not in good)


def _peak():
    """Bytes of memory that this process has had, where it can be known."""
    try:
        import resource
    except ImportError:
        return 0  # Windows.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _serve(pipe, function):
    function(None)
    pipe.recv()
    pipe.send("ready")
    before = _peak()
    while True:
        try:
            value = pipe.recv()
        except EOFError:
            return
        result = function(value)
        pipe.send("memory" if _peak() - before > MEMORY else result)
        before = max(before, _peak())
