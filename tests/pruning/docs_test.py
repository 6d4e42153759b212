"""Each method of docs/methods.md runs as it stands, and answers."""

import pathlib
import re

import keras
import pytest

import keras_stts
from tests import pages

PATH = pathlib.Path(__file__).parents[2] / "docs" / "methods.md"
TEXT = PATH.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.S | re.M)

pytestmark = [
    pytest.mark.skipif(
        keras.config.backend() != "torch", reason="One is enough."
    ),
    pytest.mark.filterwarnings("ignore:.*holds no weights of Learned"),
]


@pytest.mark.parametrize("text", BLOCKS, ids=["ranking", "merging", "inside"])
def test_block(text, tmp_path):
    model = pages.run(text)["model"]
    clip = keras_stts.datasets.shapes.render("test", 0)
    x = {"videos": [clip.frames], "prompts": [clip.questions[0]["question"]]}
    model.compile(sampler="greedy")
    answers = model.generate(x)
    model.save_to_preset(tmp_path / "mine")
    again = keras_stts.VideoVLM.from_preset(str(tmp_path / "mine"))
    again.compile(sampler="greedy")
    assert again.generate(x) == answers
    assert model.flops()["total"] < again.flops(prune_ratio=0)["total"] or (
        again.backbone.language_pruning is not None
    )
