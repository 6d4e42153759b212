"""Each process of a job reads its own part of the data."""

import json

import keras
import numpy as np
import pytest

from keras_stts.data import VideoDataset
from keras_stts.data import processes
from tests.models import tiny


def test_alone():
    assert processes.this_process() == (0, 1)


def test_as_the_backend_says(monkeypatch):
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        monkeypatch.setattr(jax, "process_index", lambda: 2)
        monkeypatch.setattr(jax, "process_count", lambda: 4)
    elif backend == "torch":
        monkeypatch.setenv("RANK", "2")
        monkeypatch.setenv("WORLD_SIZE", "4")
    else:
        config = {
            "cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1", "d:1"]}
        }
        config["task"] = {"type": "worker", "index": 1}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert processes.this_process() == (2, 4)


TF_CONFIGS = (
    "",
    "{",
    "[]",
    '{"cluster": {}}',
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
)


@pytest.mark.once
@pytest.mark.parametrize("text", TF_CONFIGS)
def test_what_tensorflow_is_told(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    if not text:
        assert processes._of_tensorflow() == (0, 1)
        return
    with pytest.raises(ValueError, match="`TF_CONFIG` must be JSON"):
        processes._of_tensorflow()


@pytest.mark.once
def test_what_torch_is_told(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="whole numbers. Received: 'first'"):
        processes._of_torch()


@pytest.mark.once
def test_parts_make_up_the_whole_in_equal_steps(monkeypatch):
    rows = [{"id": i, "video": f"{i}.mp4", "prompt": "?"} for i in range(11)]
    seen, counts = [], set()
    for index in range(3):
        backend = keras.config.backend()
        monkeypatch.setitem(
            processes.PROCESSES, backend, lambda index=index: (index, 3)
        )
        options = {"batch_size": 2, "shard": "auto"}
        with VideoDataset(rows, tiny.preprocessor(), **options) as data:
            assert data.shard == (index, 3)
            counts.add(len(data))
            plan = data.batches().plan
        seen.append(np.concatenate([batch.rows for batch in plan]))
    assert counts == {2}
    found = np.concatenate(seen)
    assert sorted(found[found >= 0]) == list(range(11))


@pytest.mark.once
@pytest.mark.parametrize("shard", ["all", (0, 1, 2), 3, None])
def test_wrong_parts(shard):
    rows = [{"video": "a.mp4", "prompt": "?", "response": "!"}]
    with pytest.raises(ValueError, match=r'\(index, count\) or "auto"'):
        VideoDataset(rows, tiny.preprocessor(), 1, shard=shard)


@pytest.mark.once
def test_a_process_that_cannot_be(monkeypatch):
    backend = keras.config.backend()
    monkeypatch.setitem(processes.PROCESSES, backend, lambda: (4, 4))
    with pytest.raises(ValueError, match="process 4 of 4"):
        processes.this_process()
