"""The benchmark of accelerators: what it runs in its short mode, and how it
lives on when something dies. No time is ever asserted."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
TIMED = {"vision_layer", "prefill 6x2", "train_step 6x2"}

pytestmark = pytest.mark.once


@pytest.fixture
def device(monkeypatch):
    """Imports a module of `benchmarks/device`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"device.{name}")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The result of the short mode, and what it printed."""
    path = tmp_path_factory.mktemp("results") / "deep" / "short.json"
    command = [sys.executable, str(BENCHMARKS / "accelerator.py"), "--short"]
    command += ["--rounds", "1", "--output", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text("utf-8")), done


def test_short_mode_is_right(short):
    result, _ = short
    assert set(result["machines"]) == {"torch", "jax"}
    assert {row["status"] for row in result["rows"]} == {"ok"}
    for backend in ("torch", "jax"):
        rows = [row for row in result["rows"] if row["backend"] == backend]
        checks = {row["case"]: row for row in rows if "right" in row}
        assert all(row["right"] for row in checks.values())
        assert {"Molmo2, 50% pruned", "score bias", "packed frames"} <= set(
            checks
        )
        same = "logits of transformers' Molmo2" in checks
        assert same == (backend == "torch")


def test_short_mode_times_all(short):
    result, _ = short
    for backend in ("torch", "jax"):
        timed = [
            row
            for row in result["rows"]
            if row["backend"] == backend and "seconds" in row
        ]
        tasks = TIMED | ({"transformers"} if backend == "torch" else set())
        assert {row["task"] for row in timed} == tasks
        for row in timed:
            assert row["seconds"] > 0 and row["rounds"] >= 1
            assert row["memory"] > 0
        pruned = [r for r in timed if r["variant"] == "50% pruned"]
        assert {row["phase"] for row in pruned} >= {
            "vision block",
            "vision block and slopes",
            "prefill",
            "decode",
            "train step",
        }
        for row in pruned:
            if row["task"] != "transformers":
                assert row["counted"] > 1
                reached = row["speedup"] / row["counted"]
                np.testing.assert_allclose(row["reached"], reached)


def test_short_mode_prints_tables(short):
    _, done = short
    for text in ("## Right?", "## Times", "50% as published", "paper: 1.62x"):
        assert text in done.stdout
    assert "## Not measured" not in done.stdout
    assert "s] " in done.stderr  # Time that passed.


def test_tasks_that_there_are_not():
    command = [sys.executable, str(BENCHMARKS / "accelerator.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--only", "prefil"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 2
    assert "--only takes of" in done.stderr and "prefil" in done.stderr


WORKER = """
import json, os, sys, time
names = sys.argv[sys.argv.index("--tasks") + 1 :]
print("a line of a library's own")
for name in names:
    print(json.dumps({"begin": name}), flush=True)
    if name == "dies":
        os._exit(9)
    if name == "hangs":
        time.sleep(60)
    print(json.dumps({"row": {"task": name, "status": "ok"}}), flush=True)
    print(json.dumps({"end": name}), flush=True)
"""


def follow(device, monkeypatch, tmp_path, names, seconds):
    processes = device("processes")
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER, "utf-8")
    monkeypatch.setattr(processes, "WORKER", worker)
    kept = []
    processes.run("torch", names, seconds, [], kept.append)
    return {m["row"]["task"]: m["row"]["status"] for m in kept}


def test_a_process_that_dies_costs_its_task_alone(
    device, monkeypatch, tmp_path
):
    names = ["first", "dies", "last"]
    found = follow(device, monkeypatch, tmp_path, names, 60)
    assert list(found) == names
    assert found["first"] == found["last"] == "ok"
    assert found["dies"] == "failed: its process ended with code 9"


def test_a_process_that_hangs_is_ended(device, monkeypatch, tmp_path):
    names = ["first", "hangs", "last"]
    found = follow(device, monkeypatch, tmp_path, names, 5)
    assert found["first"] == "ok"
    assert found["hangs"] == found["last"] == "skipped: out of time"


def timed(phase, variant, seconds, operations, **facts):
    return {
        "backend": "jax",
        "task": phase,
        "phase": phase,
        "variant": variant,
        "status": "ok",
        "seconds": seconds,
        "spread": 0.0,
        "operations": operations,
        "frames": 64,
        "batch": 2,
        **facts,
    }


def test_speed_ups_beside_the_paper(device, tmp_path):
    report = device("report")
    facts = {"date": "today", "keras_stts": "1"}
    kept = report.Report(tmp_path / "out.json", facts)
    rows = [
        timed("train step", "whole", 3.0, 10),
        timed("train step", "50% pruned", 2.0, 5),
        {"task": "prefill 256x1", "status": "out of memory"},
    ]
    for row in rows:
        kept.keep("jax", {"row": row})
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert result["rows"][1]["speedup"] == 1.5
    assert result["rows"][1]["counted"] == 2.0
    assert result["rows"][1]["reached"] == 0.75
    text = report.markdown(result)
    assert "train step, 64 x 2: paper 1.62x, here 1.50x, counted 2.00x" in text
    assert "| prefill 256x1 |  |  | out of memory |" in text


def test_without_a_whole_one_there_is_no_speed_up(device):
    report = device("report")
    rows = [timed("prefill", "50% pruned", 2.0, 5)]
    report.compare(rows)
    assert "speedup" not in rows[0]
    assert "none of its shapes was measured" in report.paper(rows)


def test_what_is_wrong(device):
    wrong = device("report").wrong
    right = {"task": "golden", "status": "ok", "right": True}
    skipped = {"task": "golden", "status": "skipped: out of time"}
    late = {"task": "prefill 64x2", "status": "failed: ValueError"}
    assert not wrong([right, skipped, late])
    broken = {"task": "attention", "status": "failed: ValueError"}
    assert wrong([right, {**right, "right": False}, broken]) == [
        {**right, "right": False},
        broken,
    ]


def test_memory_that_ran_out_is_said_so(device):
    status = device("journal").status
    for error in (
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ):
        assert status(error) == "out of memory"
    assert status(ValueError("two\n lines")) == "failed: ValueError: two lines"


def test_a_program_without_memory_leaves_the_others(device, monkeypatch):
    programs = device("programs")

    class Program:
        def __init__(self, fails=False):
            self.fails, self.released = fails, False

        def __call__(self):
            if self.fails:
                raise RuntimeError("RESOURCE_EXHAUSTED")

        def facts(self, peak):
            return {"memory": 1}

        def release(self):
            self.released = True

    class Backend:
        prepare = staticmethod(lambda programs: {"late": ValueError("no")})

    monkeypatch.setattr(programs, "backend", lambda: Backend)
    made = {"whole": Program(fails=True), "half": Program(), "late": Program()}
    found = programs.measure(made, rounds=3)
    assert found["whole"] == {"status": "out of memory"}
    assert found["late"] == {"status": "failed: ValueError: no"}
    assert made["whole"].released and not made["half"].released
    assert found["half"]["status"] == "ok"
    assert found["half"]["rounds"] == 3 and found["half"]["memory"] == 1


def test_published_rows_by_hand(device):
    packing = device("published_packing")
    # First-fit-descending into rows of 10: 7 + 3, 6 + 4, 5.
    assert packing.rows([3, 7, 0, 5, 6, 4], 10) == [[1, 0], [4, 5], [3]]
    kept = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
    index, mask = packing.layout(kept)
    # Frame 0 fills a row; frames 2 and 1 share one, of which a place is left.
    assert index.tolist() == [[0, 1, 2, 3], [9, 10, 4, 0]]
    seen = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(mask[1, 0], np.array(seen, bool))
    assert mask[0].all()


def test_a_frame_alone_in_its_row_gets_its_patches_back(device):
    index, mask = device("published_packing").layout(
        np.array([[1, 1, 1, 0], [1, 1, 0, 1]], bool)
    )
    assert index.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert mask.all()


def test_reference_has_the_slopes_of_attention(device):
    """Grouped queries and hidden keys, by small steps."""
    attention = device("reference").attention
    rng = np.random.default_rng(0)
    shapes = [(1, 3, 4, 2), (1, 5, 2, 2), (1, 5, 2, 2)]
    arrays = [rng.normal(size=s).astype("float64") for s in shapes]
    target = rng.normal(size=shapes[0])
    bias = np.zeros((1, 1, 3, 5))
    bias[..., 4] = -np.inf

    def total(arrays, bias=bias):
        outputs = attention(*arrays, target, bias)[0]
        return float(np.sum(outputs.astype("float64") * target))

    _, *slopes, logits = attention(*arrays, target, bias)
    for i, slope in enumerate(slopes):
        place = (0, 1, 1, 0)
        moved = [x.copy() for x in arrays]
        moved[i][place] += 0.05
        up = total(moved)
        moved[i][place] -= 0.1
        found = (up - total(moved)) / 0.1
        np.testing.assert_allclose(slope[place], found, rtol=0.02, atol=1e-3)
    assert logits.shape == (1, 4, 3, 5)
    np.testing.assert_array_equal(logits[..., 4], 0)


def test_tasks_and_how_long_they_take(device):
    tasks = device("tasks")
    first = ["golden", "attention", "prefill 64x2"]
    names = {n: tasks.names(n, False) for n in ("torch", "jax")}
    rest = ["transformers", "vision_layer", "train_step 64x2"]
    assert names["torch"][:6] == first + rest
    assert names["jax"][:5] == [*first, "train_step 64x2", "vision_layer"]
    assert "transformers" not in names["jax"]
    ahead = [n for n in names["jax"] if tasks.make(n, "jax", False).ahead]
    assert ahead == ["prefill 64x2", "train_step 64x2"]
    for name in tasks.names("torch", False):
        task = tasks.make(name, "torch", False)
        assert 0 < task.seconds < 540
    shapes = {"64x2", "256x1", "128x1", "64x1"}
    named = {n.split(" ")[1] for n in tasks.names("jax", False) if " " in n}
    assert named == shapes
