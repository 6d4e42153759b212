"""A job of two processes does what one does, and goes on after a kill."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_stts.training import shared_saving
from tests.distribution.on_devices_test import FLAGS


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def start(count, folder, *kill):
    """Processes of a job, on this machine."""
    port = free_port()
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": " ".join(FLAGS[1:]),
    }
    module = "tests.distribution.process_of_two"
    return [
        subprocess.Popen(
            [sys.executable, "-m", module]
            + [str(n) for n in (port, index, count, folder, *kill)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def ends(processes):
    """List of (exit status, stdout, stderr)."""
    try:
        said = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *text) for p, text in zip(processes, said)]


def numbers(end):
    status, out, error = end
    assert not status, error
    return json.loads(out.splitlines()[-1])


@pytest.mark.once
def test_one_is_killed_and_the_job_goes_on(folder):
    pytest.importorskip("jax")
    # The last batch of the first epoch: the loss is that of the second.
    first, last = ends(start(2, folder, 3))
    assert last[0] == -9
    assert first[0] and "another task died" in first[2], first[2]
    for kind in ("data", "fsdp"):
        assert (folder / f"backup_{kind}/backup.weights.h5").exists()
    both = [numbers(end) for end in ends(start(2, folder))]
    (alone,) = map(numbers, ends(start(1, folder)))
    wanted = alone.pop("alone")
    for kind in ("data", "fsdp", "loaded"):
        assert both[0][kind] == both[1][kind]
        np.testing.assert_allclose(
            both[0][kind], wanted, rtol=1e-5, atol=1e-5, err_msg=kind
        )
    found = both[0]["logits"] + both[1]["logits"]
    np.testing.assert_allclose(found, alone["logits"], rtol=1e-4, atol=1e-4)
    assert both[0]["answers"] + both[1]["answers"] == alone["answers"]
    for kind in ("data", "fsdp"):
        for found in both:
            assert found[f"{kind}_evaluated"] == alone["alone_evaluated"]
    saved = {p.name for p in folder.iterdir()}
    assert {"saved.weights.h5", "molmo2", "preset"} <= saved
    assert "table.jsonl/preset" in both[0]["refusal"]
    assert "first process of a job writes" in both[1]["refusal"]


@pytest.mark.once
def test_one_that_waits_for_the_others_says_so(monkeypatch, caplog):
    monkeypatch.setattr(shared_saving, "PATIENCE", 0)
    monkeypatch.setattr(shared_saving, "_send", lambda n: time.sleep(0.2))
    shared_saving._meet("`save_to_preset`")
    assert "all of them have to call it" in caplog.text
