import pathlib

import keras
import pytest

import keras_stts
from keras_stts.serving.app import make_app
from keras_stts.serving.limits import Limits
from tests.serving import servers


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """A served folder with three clips, and a table of what they show."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="package")
def clips(folder):
    """Three rows of a table, of clips in the served folder."""
    rows = keras_stts.datasets.shapes.generate(folder, "test", num_clips=3)
    return list({row["video"]: row for row in rows}.values())


@pytest.fixture(scope="package")
def clip(clips):
    return pathlib.Path(clips[0]["video"])


@pytest.fixture(scope="module")
def model():
    if keras.config.backend() != "torch":
        pytest.skip("One is enough, and PyTorch compiles nothing.")
    return keras_stts.VideoVLM.from_preset(servers.NAME, prune_ratio=0.5)


@pytest.fixture(scope="module")
def expected(model, clips):
    """Greedy answers."""
    model.compile(sampler="greedy")
    return model.generate(
        {
            "videos": [row["video"] for row in clips],
            "prompts": [row["question"] for row in clips],
        }
    )


@pytest.fixture(scope="module")
def address(model, folder):
    """A server's."""
    limits = Limits(max_batch=3, wait_seconds=0.2, max_queue=5, max_body=2**20)
    app = make_app(model, servers.NAME, limits, folders=[folder])
    with servers.running(app) as found:
        yield found
