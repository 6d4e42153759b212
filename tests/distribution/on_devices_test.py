"""Runs the tests of this folder that need eight devices, on fake ones.

They share a process, which imports Keras once.
"""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

HERE = pathlib.Path(__file__).parent
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # Tiny models are compiled far longer than they run.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)
FILES = sorted(HERE.glob("*_on_devices.py"))


@pytest.mark.once
def test_on_eight_devices():
    pytest.importorskip("jax")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        # Two programs at a time would wait for each other's threads.
        "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": " ".join(FLAGS),
    }
    # Keras warns of what only several devices meet.
    command = [sys.executable, "-m", "pytest", "-q", "-W", "default"]
    run = subprocess.run(
        [*command, *FILES], env=environment, capture_output=True
    )
    assert not run.returncode, run.stdout.decode() + run.stderr.decode()


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="Of TensorFlow alone."
)
def test_on_two_devices_of_tensorflow():
    command = [sys.executable, "-m", "pytest", "-q"]
    file = HERE / "mirrored_on_two_devices.py"
    run = subprocess.run([*command, file], capture_output=True)
    assert not run.returncode, run.stdout.decode() + run.stderr.decode()
