"""The model card of a preset, as huggingface_hub reads it."""

import json
import os
import pathlib

import huggingface_hub
import pytest
from huggingface_hub import EvalResult
from huggingface_hub import ModelCard

import keras_stts
from keras_stts import VideoVLM
from keras_stts import _hub_compat as hub
from keras_stts.version import __version__
from tests.models import tiny

pytestmark = pytest.mark.once
RESULT = {
    "benchmark": "mvbench",
    "accuracy": 0.625,
    "interval": [0.6, 0.65],
    "n": 4000,
    "num_frames": 8,
    "prune_ratio": 0.5,
}


@pytest.fixture(scope="module")
def model():
    return tiny.model()


def saved(model, folder, **kwargs):
    """The card of a model that is saved, and the rows of its first table."""
    model.save_to_preset(str(folder), **kwargs)
    card = ModelCard.load(folder / "README.md")
    lines = [line.split(" | ") for line in card.text.splitlines()]
    rows = [
        line for line in lines[: lines.index(["## Load"])] if len(line) == 2
    ]
    rows = [row for row in rows if row[0].strip("| ")]
    return card, {row[0].strip("| "): row[1].strip("| ") for row in rows}


def test_what_is_not_known_is_not_stated(model, tmp_path):
    card, facts = saved(model, tmp_path / "mine")
    assert facts == dict.fromkeys(
        ["base model", "licence", "data", "results"], "not stated"
    )
    assert card.data.to_dict() == {
        "library_name": "keras-hub",
        "pipeline_tag": "video-text-to-text",
        "tags": ["keras", "keras-stts", "token-pruning"],
    }
    assert f"{model.count_params():,} parameters" in card.text
    assert __version__ in card.text


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        (None, "Nothing prunes its vision tokens."),
        ("evs", "What prunes its vision tokens is `evs`."),
        (
            ["stts", keras_stts.pruning.FastV(layer=1)],
            "What prunes its vision tokens is `stts` and `FastV`.",
        ),
        (
            keras_stts.pruning.FastV(layer=1),
            "What prunes its vision tokens is `FastV`.",
        ),
    ],
)
def test_what_prunes(tmp_path, pruning, words):
    model = VideoVLM.from_preset("shapes_tiny", pruning=pruning)
    card, _ = saved(model, tmp_path / "mine")
    assert words in card.text.replace("\n", " ")
    VideoVLM.from_preset(str(tmp_path / "mine"))


def test_what_is_stated(model, tmp_path):
    card, facts = saved(
        model,
        tmp_path / "mine",
        card={
            "base_model": "me/base",
            "license": "apache-2.0",
            "datasets": ["me/clips", "my own clips"],
            "language": "en",
            "eval_results": [RESULT],
        },
    )
    assert facts["base model"] == "[me/base](https://huggingface.co/me/base)"
    assert facts["licence"] == "apache-2.0"
    link = "https://huggingface.co/datasets/me/clips"
    assert facts["data"] == f"[me/clips]({link}), my own clips"
    assert facts["results"] == (
        "mvbench: 62.5 (accuracy in %, 8 frames, 50% pruned, 4,000 questions, "
        "95% interval 60.0 to 65.0)"
    )
    assert card.data.base_model == "me/base"
    assert card.data.datasets == ["me/clips"]  # The other is no id.
    assert card.data.license == "apache-2.0"
    assert card.data.language == "en"
    assert card.data.model_name == "mine"
    (found,) = card.data.eval_results
    assert (found.dataset_name, found.metric_value) == ("mvbench", 62.5)


def test_results_of_others(model, tmp_path):
    """Two of one set of data, a licence without a name on Hugging Face."""
    result = EvalResult("video-text-to-text", "a/b", "B", "bleu", 0.5)
    card, facts = saved(
        model,
        tmp_path,
        card={
            "license": "other",
            "license_name": "my-licence",
            "eval_results": [RESULT, result, {**RESULT, "prune_ratio": 0.0}],
        },
    )
    assert facts["licence"] == "my-licence"
    assert facts["results"].count("mvbench: 62.5") == 2
    assert "B: 0.5 (bleu)" in facts["results"]
    assert len(card.data.eval_results) == 3


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"licence": "mit"}, "Received: licence. Known are: base_model"),
        ({"eval_results": [{"n": 1}]}, "must be what `keras_stts.evaluate`"),
        ({"eval_results": [{**RESULT, "accuracy": None}]}, "a question at"),
    ],
)
def test_refused(model, tmp_path, card, message):
    with pytest.raises(ValueError, match=message):
        model.save_to_preset(str(tmp_path / "mine"), card=card)
    assert not (tmp_path / "mine").exists()


@pytest.fixture
def hugging_face(model, tmp_path, monkeypatch):
    """A folder in the place of allenai/Molmo2-4B."""
    model.export_to_transformers(str(tmp_path / "hub"))

    def get_file(preset, name):
        assert preset == "hf://allenai/Molmo2-4B"
        path = tmp_path / "hub" / name
        if not path.exists():
            raise FileNotFoundError(name)
        return os.fspath(path)

    monkeypatch.setattr(hub, "get_file", get_file)
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *_: "there"
    )


@pytest.mark.parametrize("name", ["hf://allenai/Molmo2-4B", "molmo2_4b"])
def test_a_fine_tuned_model(hugging_face, tmp_path, name):
    """Its base stays known when it is saved, loaded, trained and saved."""
    model = VideoVLM.from_preset(name, num_frames=tiny.NUM_FRAMES)
    for folder in (tmp_path / "first", tmp_path / "second"):
        model.compile(optimizer="sgd")
        model.fit(tiny.raw(), batch_size=2, verbose=0)
        card, facts = saved(model, folder)
        assert card.data.base_model == "allenai/Molmo2-4B"
        assert facts["base model"].startswith("[allenai/Molmo2-4B](https://")
        model = VideoVLM.from_preset(str(folder))
    model.backbone.save_to_preset(str(folder))
    listed = json.loads((folder / "preset_manifest.json").read_text())
    assert listed["base"] == "hf://allenai/Molmo2-4B"
    random = VideoVLM.from_preset(str(tmp_path / "first"), load_weights=False)
    assert random.base_preset is None


def test_a_built_in_model(tmp_path):
    model = VideoVLM.from_preset("shapes_tiny")
    card, facts = saved(model, tmp_path / "mine")
    assert facts["base model"] == "shapes_tiny"
    assert card.data.base_model is None
    code = card.text.partition("```python\n")[2].partition("model.generate")[0]
    before = pathlib.Path.cwd()
    os.chdir(tmp_path)
    try:
        space = {}
        exec(code, space)
    finally:
        os.chdir(before)
    assert isinstance(space["model"], keras_stts.VideoVLM)


def test_a_base_that_is_no_handle(model, tmp_path):
    saved(model, tmp_path)
    path = tmp_path / "preset_manifest.json"
    listed = json.loads(path.read_text())
    path.write_text(json.dumps({**listed, "base": "<script>"}))
    with pytest.raises(ValueError, match="list of files must be of format"):
        VideoVLM.from_preset(str(tmp_path))
