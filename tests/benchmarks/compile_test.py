"""The model compiles for TPUs and GPUs, and keeps no squares of tokens."""

import json
import os
import subprocess
import sys

import keras
import pytest

from tests import compilers

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        keras.config.backend() != "jax", reason="JAX alone compiles for them."
    ),
]
FUSED = "__cudnn$fmha"
KEYS = ("target", "ratio", "phase")


def command(*arguments):
    environment = compilers.environment()
    if environment is None:
        message = "no compilers: python -m tests.compilers"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    if arguments[0].endswith(".py"):
        # A user's shell names neither; the scripts do.
        del environment["KERAS_BACKEND"], environment["JAX_PLATFORMS"]
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=compilers.ROOT,
        capture_output=True,
        text=True,
    )


CASES = [
    ("h100", 0, ("prefill",)),
    ("h100", 0.5, ("prefill", "train")),
    ("v5e", 0, ("prefill",)),
    ("v5e", 0.5, ("prefill",)),
]
if os.environ.get("KERAS_STTS_LARGE") == "1":  # Takes minutes.
    CASES += [("v5e", 0.5, ("train",)), ("h100", 0, ("train",))]


@pytest.fixture(scope="module")
def reports():
    """Dict of (target, ratio, phase) to a report; one process makes them."""
    cases = [",".join((t, str(ratio), *phases)) for t, ratio, phases in CASES]
    done = command("-m", "tests.benchmarks.compile_cases", *cases)
    assert not done.returncode, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {tuple(line[k] for k in KEYS): line for line in lines}


@pytest.mark.parametrize(("target", "ratio", "phases"), CASES)
def test_fits_without_squares(reports, target, ratio, phases):
    planted = reports[target, None, "planted"]
    assert planted["forbidden"], "a planted square is not found"
    for phase in phases:
        report = reports[target, ratio, phase]
        assert report["fits"], report["memory"]
        assert report["memory"]["arguments"] > 1e9
        assert not report["forbidden"], (phase, report["forbidden"])
        assert report["buffers"] and not report["collectives"]


def test_attention_is_fused_on_gpus(reports):
    for ratio in (0, 0.5):
        report = reports["h100", ratio, "prefill"]
        kernels = {k: n for k, n in report["kernels"].items() if FUSED in k}
        # Three vision blocks and one of the language model.
        assert sum(kernels.values()) >= 4, report["kernels"]
    kernels = reports["h100", 0.5, "train"]["kernels"]
    assert any("Backward" in name for name in kernels), kernels


def test_training_keeps_its_state_in_place(reports):
    memory = reports["h100", 0.5, "train"]["memory"]
    # Weights and two moments; the outputs are these.
    assert memory["aliased"] > 0.99 * memory["outputs"]
    prefill = reports["h100", 0.5, "prefill"]["memory"]
    assert memory["arguments"] > 2.9 * prefill["arguments"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--target v4", "must be one of v5e, v6e, v5p, h100, a100, l4"),
        ("--target h100 --chips 3", "topology of h100: 1, 2, 4, 8"),
        ("--target h100 --xla fast", "NAME=VALUE. Received: --xla fast"),
        ("--target h100 --trainable heads --depth 2 6", "must be a list of"),
    ],
)
def test_bad_input_is_an_error_in_one_line(arguments, message):
    done = command("benchmarks/compile.py", *arguments.split())
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1], done.stderr[-2000:]


def test_a_packed_layer_takes_half_of_a_whole_one():
    """Of the time that a TPU's compiler estimates, and of what it moves."""
    layer = ("benchmarks/compile_layer.py", "--ratios", "0.5")
    done = command(*layer, "--target", "v5p", "--frames", "64")
    assert not done.returncode, done.stderr[-3000:]
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    for kind in ("seconds", "bytes_accessed", "temporaries"):
        assert rows["50%"][kind] <= 0.6 * rows["whole"][kind], kind
