"""Two processes of PyTorch train what one does, from Keras 3.16 on."""

import os
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from keras_stts.training import ddp
from tests.distribution.two_processes_test import free_port
from tests.distribution.two_processes_test import numbers

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="Of PyTorch alone."
)


def run(count, folder):
    module, port = "tests.distribution.process_of_ddp", free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module]
            + [str(n) for n in (port, index, count, folder)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    said = [process.communicate(timeout=170) for process in processes]
    ends = zip(processes, said)
    return [numbers((p.returncode, *text)) for p, text in ends]


@pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 16),
    reason="Keras 3.16 is the first that can.",
)
def test_two_processes_are_one(folder):
    first, second = run(2, folder)
    (alone,) = run(1, folder)
    for both in (first, second):
        *losses, sums, accuracy = both
        *wanted, sums_of_one, accuracy_of_one = alone
        for one, other in zip(losses, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(sums, sums_of_one, rtol=1e-5, atol=1e-4)
        assert accuracy == accuracy_of_one


def test_a_keras_that_trains_each_alone_is_refused(monkeypatch):
    monkeypatch.setattr(ddp, "are_several", lambda: True)
    model = types.SimpleNamespace(loss=None)
    with pytest.raises(ValueError, match="from 3.16 on. Received: Keras"):
        ddp.check(model)
    model.ddp_model = None
    ddp.check(model)
    assert not ddp.is_wrapped(model)
    model.loss = keras.losses.MeanSquaredError("mean_with_sample_weight")
    with pytest.raises(ValueError, match="MeanSquaredError with reduction"):
        ddp.check(model)
