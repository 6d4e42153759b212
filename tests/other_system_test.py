"""Without TensorFlow and what Windows lacks: see `tests/other_system.py`."""

import subprocess
import sys

import keras
import pytest


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow", reason="It needs TensorFlow."
)
def test_first_steps_elsewhere():
    result = subprocess.run(
        [sys.executable, "-m", "tests.other_system"],
        capture_output=True,
        text=True,
    )
    assert not result.returncode, result.stderr[-3000:]
    assert "Well, but for what is missing." in result.stdout
