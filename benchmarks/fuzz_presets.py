"""Damaged, hostile and half-saved presets, and what comes of loading them.

    python benchmarks/fuzz_presets.py --cases 600

damages tiny presets in both formats, loads each in a process of its own and
prints a table: refused by an error that names it, warned of, or unchanged;
none may load with other numbers in silence, end in an error that does not say
what is wrong, hang, or crash. Then saving over a preset is killed at each
access to the disk and at random times: what loads is the old or the new one.
The last line is one JSON object.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["KERAS_BACKEND"] = "torch"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import torch

    from tests.models import preset_fuzz as fuzz

    torch.set_num_threads(1)  # More of them do not survive a fork.

    def report(case, verdict, detail):
        if verdict in fuzz.BAD:
            name = f"{case.base}, {case.damage.__name__}, {case.seed}"
            print(f"{verdict}: {name}: {detail[:400]}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        counts, bad = fuzz.fuzz(folder, arguments.cases, arguments.seed, report)
        kills = fuzz.kills(folder / "kills", arguments.kills, arguments.seed)
    verdicts = [*fuzz.GOOD, *fuzz.BAD]
    print(f"{'damage':<20}" + "".join(f"{v:>10}" for v in verdicts))
    for name in sorted(counts):
        cells = "".join(f"{counts[name][v]:>10}" for v in verdicts)
        print(f"{name:<20}{cells}")
    print(f"killed: {dict(kills)}")
    total = {v: sum(c[v] for c in counts.values()) for v in verdicts}
    print(json.dumps({"cases": arguments.cases, **total, "kills": kills}))
    wrong = sum(n for name, n in kills.items() if name.startswith("mixed"))
    return 1 if bad or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
