"""One backend's tasks, in a process of its own.

`benchmarks/accelerator.py` starts it. Each message is a line of JSON: what
the device is, which task begins, a row, and which task is done.
"""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from device import journal  # noqa: E402
from device import tasks  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", required=True)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--short", action="store_true")
    return parser.parse_args()


def main():
    args = parse_arguments()
    clock = journal.Clock(args.seconds)
    os.environ["KERAS_BACKEND"] = args.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # All of the device, but only as it is needed.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")

    from device import models
    from device import programs

    backend = programs.backend()
    journal.emit(machine=backend.describe())
    clock.say(f"{args.backend}: {backend.describe()['device']}")
    built = models.build(args.short)
    count = next(iter(built.values())).count_params()
    clock.say(f"{count:,} weights, drawn")
    work = [tasks.make(name, args.backend, args.short) for name in args.tasks]
    prepared = prepare(work, built, clock)
    for task in work:
        made = prepared.pop(task.name, None)
        seconds = task.seconds + (0 if made else task.compiling)
        if not args.short and clock.left() < seconds:
            wanted, left = round(seconds), round(max(0, clock.left()))
            text = f"skipped: takes about {wanted} s, {left} s were left"
            journal.emit(row={"task": task.name, "status": text})
            clock.say(f"{task.name}: {text}")
        else:
            if made:
                # What else is compiled would slow down what is timed.
                backend.quiet(clock.left() / 2)
            run(task, made, built, args.rounds, clock)
            made = None
            backend.release()
        journal.emit(end=task.name)


def prepare(work, models, clock):
    """Start to compile what is timed first, while all is checked.

    No more of it: what is checked would take as long as it saves.

    Returns:
        Dict of the names of tasks to what they made.
    """
    from device import programs

    prepared = {}
    for task in work:
        if not task.ahead:
            continue
        clock.say(f"{task.name} is compiled ...")
        try:
            prepared[task.name] = task.prepare(models)
        except Exception as error:  # It is made again, and said, by `run`.
            clock.say(f"  {journal.status(error)}")
            continue
        for program in programs.flat(prepared[task.name]):
            program.start()
    return prepared


def run(task, made, built, rounds, clock):
    """Emit the rows of a task, or what became of it."""
    clock.say(f"{task.name} ...")
    journal.emit(begin=task.name)
    try:
        if made is None and task.prepare is not None:
            made = task.prepare(built)
        for row in task.run(built, made, rounds):
            row = {"task": task.name, "status": "ok", **row}
            journal.emit(row=row)
            clock.say("  " + summary(row))
    except Exception as error:
        status = journal.status(error)
        journal.emit(row={"task": task.name, "status": status})
        clock.say(f"  {status}")


def summary(row):
    """A row in a line."""
    words = [row.get("case") or row.get("variant") or "", row["status"]]
    words += [str(row[name]) for name in ("phase", "dtype") if name in row]
    if "seconds" in row:
        words.append(f"{row['seconds']:.4g} s")
    if "error" in row:
        words.append(f"error {row['error']:.2g} of {row['bound']:.2g}")
        words.append("right" if row["right"] else "WRONG")
    return ", ".join(words)


if __name__ == "__main__":
    main()
