"""Each Python block of README.md runs as it stands, alone, on files it names.

Of the published checkpoints, which cannot be had here, the name alone is
replaced.
"""

import json
import pathlib
import shutil

import keras
import pytest

import keras_stts
from tests import readme
from tests.evaluation import formats

pytestmark = [
    pytest.mark.skipif(
        keras.config.backend() != "torch", reason="One is enough."
    ),
    pytest.mark.filterwarnings("ignore:.*was published with"),
    pytest.mark.filterwarnings("ignore:.*holds no token scorer"),
]
TINY_MOLMO2 = pathlib.Path(__file__).parent / "models/golden/molmo2_tiny"
WORDS = {
    'clip.mp4"], "prompts': ("answers", list),
    "num_clips=8": ("model", keras_stts.VideoVLM),
    "plan_rows": ("rows", list),
    "What happens after": ("model", keras_stts.VideoVLM),
    "class Contrast": ("model", keras_stts.VideoVLM),
    "video_dataset_from_manifest": ("backup", keras.callbacks.Callback),
    "keras_stts.evaluate(": ("results", list),
    "molmo2_directory_again": ("model", keras_stts.VideoVLM),
    "class PrunedBlocks": None,  # `tests/layers/siglip_test.py` runs it.
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder that holds what blocks name."""
    monkeypatch.chdir(tmp_path)
    clip = keras_stts.datasets.shapes.render("test", 0)
    keras_stts.datasets.shapes.write_video("clip.mp4", clip.frames)
    pathlib.Path("videos").mkdir()
    rows = []
    for i in range(8):
        shutil.copy("clip.mp4", f"videos/{i}.mp4")
        rows.append({"video": f"{i}.mp4", "prompt": "how?", "response": "so"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    pathlib.Path("train.jsonl").write_text(lines)
    formats.write("video_mme", pathlib.Path("Video-MME"))
    shutil.copytree(TINY_MOLMO2, "molmo2_directory")
    return tmp_path


def test_every_block_is_run():
    found = [[w for w in WORDS if w in text] for text in readme.blocks()]
    assert [len(words) for words in found] == [1] * len(WORDS)
    assert not [text for text in readme.blocks() if "import" not in text]


@pytest.mark.parametrize("word", [w for w in WORDS if WORDS[w]])
def test_block(files, word):
    text = readme.block(word)
    if word == "keras_stts.evaluate(":
        for path in keras_stts.evaluation.BENCHMARKS["video_mme"].load(
            files / "Video-MME"
        ):
            place = pathlib.Path(path.video)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("clip.mp4", place)
    made = readme.run(text.replace('"molmo2_4b"', '"shapes_tiny"'))
    name, kind = WORDS[word]
    assert isinstance(made[name], kind)
    if word == "num_clips=8":  # The lesson that its text tells of.
        model, data = made["model"], made["data"]
        model.compile(sampler="greedy")
        asked = {name: data[name][:16] for name in ("videos", "prompts")}
        answers = model.generate(asked)
        assert sum(answer.endswith("!") for answer in answers) > 8, answers
    if word == "keras_stts.evaluate(":
        assert [r["num_frames"] for r in made["results"]] == [64, 128, 256]
        assert (files / "time.png").exists()
