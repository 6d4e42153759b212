"""A process pads its questions to the shapes of the others'."""

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.models import task_answering
from keras_stts.training import distributing
from keras_stts.training import jobs
from keras_stts.training import padding

# Jobs are JAX', but PyTorch runs a model soonest.
pytestmark = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="Once is enough."
)


@pytest.fixture
def others(monkeypatch):
    """List of what the other process of a job tells, next to this one."""
    told = []
    monkeypatch.setattr(jobs, "this_process", lambda: (0, 2))
    monkeypatch.setattr(distributing, "are_joint", lambda: True)
    monkeypatch.setattr(jobs, "exchange", lambda own: [own, told.pop(0)])
    return told


def test_a_smaller_bucket_becomes_the_larger_one(others):
    model = keras_stts.VideoVLM.from_preset("shapes_tiny_qwen3vl")
    clip = keras_stts.datasets.shapes.render("test", 0)
    video = keras_stts.data.SampledVideo(clip.frames[:4], np.arange(4.0))
    x = model.preprocessor.generate_preprocess(
        {"videos": [video], "prompts": ["what moves?"]}, sequence_length=32
    )
    blocks = model.preprocessor.block_patches
    larger = {name: [3, *value.shape[1:]] for name, value in x.items()}
    larger["videos"][2] += 4 * blocks
    for name in ("vision_token_ids", "vision_mask", "vision_positions"):
        larger[name][1] += 10
    larger["token_ids"][1] = larger["padding_mask"][1] = 40
    others.append(larger)
    padded = padding.as_in_others(x)
    assert {k: list(v.shape) for k, v in padded.items()} == larger
    wanted = model.preprocessor.generate_preprocess(
        {"videos": [video], "prompts": ["what moves?"]}, sequence_length=40
    )
    logits, alone = (
        keras.ops.convert_to_numpy(model(inputs)) for inputs in (padded, wanted)
    )
    for row in logits:
        np.testing.assert_allclose(row[:32], alone[0, :32], atol=1e-4)


def test_a_failure_in_one_process_is_one_in_all(others):
    others.append("no such file")
    with pytest.raises(ValueError, match="process 1 of this job: no such"):
        jobs.together(lambda: 1)
    others.append(None)
    with pytest.raises(OSError, match="here"):
        jobs.together(lambda: (_ for _ in ()).throw(OSError("here")))


def test_another_number_of_batches_is_refused(others, monkeypatch):
    monkeypatch.setattr(jobs, "of_all", lambda *own: [list(own), [1]])
    with pytest.raises(ValueError, match=r"as many batches.*\[2, 1\]"):
        task_answering._check_alike({"prompts": ["?"] * 3}, 2)


@pytest.mark.parametrize(("index", "part"), [(0, [0]), (1, [1, 2])])
def test_parts_are_all_there_is(monkeypatch, index, part):
    monkeypatch.setattr(jobs, "this_process", lambda: (index, 2))
    assert jobs.own_part([0, 1, 2]) == part
