"""Each page's Python blocks run as they stand, in order, on files they name.

Of the published checkpoints, which cannot be had here, the name alone is
replaced; addresses of a cloud become addresses on this machine.
"""

import ast
import json
import pathlib
import re
import shutil
from importlib.util import find_spec

import keras
import pytest

import keras_stts
from tests import pages
from tests import public_api
from tests.evaluation import formats

torch_alone = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="One is enough."
)
TINY_MOLMO2 = pathlib.Path(__file__).parent / "models/golden/molmo2_tiny"
# Pages whose blocks other tests run, each in its own way.
ELSEWHERE = {
    "docs/methods.md": "pruning/docs_test.py",
    "docs/towers.md": "towers/docs_test.py",
}
RUN = sorted(set(pages.names()) - set(ELSEWHERE))


@pytest.fixture(autouse=True)
def registered():
    """Classes of pages, some of one name, are forgotten after a test."""
    known = keras.saving.get_custom_objects()
    before = dict(known)
    yield
    known.clear()
    known.update(before)


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
        shutil.copy("clip.mp4", f"{i}.mp4")
        rows.append({"video": f"{i}.mp4", "prompt": "how?", "response": "so"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    pathlib.Path("train.jsonl").write_text(lines)
    pathlib.Path("questions.jsonl").write_text(lines)
    keras_stts.data.write_shards("train.jsonl", "shards", folder="videos")
    formats.write("video_mme", pathlib.Path("Video-MME"))
    benchmark = keras_stts.evaluation.BENCHMARKS["video_mme"]
    for question in benchmark.load(tmp_path / "Video-MME"):
        place = pathlib.Path(question.video)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("clip.mp4", place)
    shutil.copytree(TINY_MOLMO2, "molmo2_directory")
    return tmp_path


@torch_alone
@pytest.mark.filterwarnings("ignore:.*was published with")
@pytest.mark.filterwarnings("ignore:.*holds no token scorer")
@pytest.mark.parametrize("name", RUN)
def test_page(files, name):
    def change(code):
        code = code.replace('"molmo2_4b"', '"shapes_tiny"')
        if not find_spec("grain"):
            code = code.replace('format="grain"', 'format="keras"')
        return code.replace("gs://bucket", f"file://{files}")

    for block, names in pages.run_page(name, change):
        if check := CHECKS.get((name, word_of(block))):
            check(names)


def word_of(block):
    words = [word for _, word in CHECKS if word in block.code]
    return words[0] if words else None


def has_learnt(names):
    """The lesson that the text tells of."""
    model, data = names["model"], names["data"]
    model.compile(sampler="greedy")
    asked = {name: data[name][:16] for name in ("videos", "prompts")}
    answers = model.generate(asked)
    assert sum(answer.endswith("!") for answer in answers) > 8, answers


def has_evaluated(names):
    assert [r["num_frames"] for r in names["results"]] == [64, 128, 256]
    assert pathlib.Path("time.png").exists()


CHECKS = {
    ("docs/fine_tuning.md", "num_clips=8"): has_learnt,
    ("docs/evaluation.md", "keras_stts.evaluate("): has_evaluated,
}


@pytest.mark.once
def test_pages_say_why_a_block_is_not_run():
    found = [b for name in pages.names() for b in pages.blocks(name)]
    assert len(found) > 30
    assert all(len(b.not_run) > 10 for b in found if b.not_run)


@pytest.mark.once
def test_links_of_readme_lead_somewhere():
    """Those of other pages are tested when the site is built."""
    text = (pages.ROOT / "README.md").read_text("utf-8")
    paths = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", text)
    assert len(paths) > 10
    assert not [path for path in paths if not (pages.ROOT / path).exists()]


@pytest.mark.once
def test_every_public_module_has_a_page():
    folder = pages.ROOT / "docs/reference"
    for module in public_api.MODULES:
        name = module.removeprefix("keras_stts.")
        text = (folder / f"{name}.md").read_text("utf-8")
        assert f"\n::: {module}\n" in text
        assert f"]({name}.md)" in (folder / "index.md").read_text("utf-8")
    models = (folder / "models.md").read_text("utf-8")
    for name in keras_stts.__all__:
        is_module = f"keras_stts.{name}" in (*public_api.MODULES, DATASETS)
        assert (
            is_module
            or name == "__version__"
            or (f"\n::: keras_stts.{name}\n" in models)
        ), name


DATASETS = "keras_stts.datasets"


def messages():
    """What the package can say, as one text a string in its code."""
    for path in (pages.ROOT / "keras_stts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(v, "value", "") for v in node.values]
                yield "".join(p if isinstance(p, str) else "…" for p in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.once
def test_errors_that_are_explained_are_those_of_the_code():
    text = (pages.ROOT / "docs/faq.md").read_text("utf-8")
    explained = re.findall(r'^### "(.*)"(?: \(warning\))?$', text, re.M)
    assert len(explained) >= 25
    assert len(re.findall("^### ", text, re.M)) == len(explained)
    known = list(messages())
    assert not [e for e in explained if not any(e in each for each in known)]
