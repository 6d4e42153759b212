"""Runs the tests of this folder that need eight devices, on fake ones."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("*_on_devices.py"))


@pytest.mark.once
@pytest.mark.parametrize("name", FILES)
def test_on_eight_devices(name):
    pytest.importorskip("jax")
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", HERE / name]
    run = subprocess.run(command, env=environment, capture_output=True)
    assert not run.returncode, run.stdout.decode() + run.stderr.decode()
