"""The plug-in: without lmms-eval, and with it where it is installed."""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tomllib

import numpy as np
import pytest

import keras_stts
from keras_stts.datasets import shapes
from keras_stts.evaluation import lmms_eval_plugin as plugin
from tests.data.reading_test import write

MESSAGES = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    {
        "role": "user",
        "content": [
            {"type": "video", "url": "a.mp4", "start_time": 1, "end_time": 2},
            {"type": "text", "text": "What?"},
        ],
    },
]


def test_the_entry_point_names_the_plug_in():
    path = pathlib.Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    name = project["entry-points"]["lmms_eval.models"]["keras_stts"]
    point = importlib.metadata.EntryPoint("keras_stts", name, "")
    assert point.load() is plugin.manifest


def test_messages():
    messages, video = plugin.split_messages(MESSAGES)
    assert video["url"] == "a.mp4"
    assert messages[0] == MESSAGES[0]
    kinds = [part["type"] for part in messages[1]["content"]]
    assert kinds == ["video", "text"]
    chat = keras_stts.preprocessing.chat
    text = chat.render(chat.CHAT_TEMPLATE, messages, num_videos=1)
    assert text.startswith("<|video|><|im_start|>system\nBe brief.")


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "What?"}],
        [{"type": "image", "url": "a.png"}],
        MESSAGES[1]["content"] * 2,
    ],
)
def test_a_request_has_one_video(content):
    with pytest.raises(ValueError, match="one video beside its text.*types"):
        plugin.split_messages([{"role": "user", "content": content}])


def test_answers_are_cut():
    assert plugin.cut(" B\n\nC", ["\n", ""]) == "B"
    assert plugin.cut("a stop b", [" stop", "b"]) == "a"


class Request:
    def __init__(self, number, **options):
        options = {"max_new_tokens": 8, "until": ["!"], **options}
        self.args = ("text", self.messages, options, number, "task", "test")

    def messages(self, doc):
        video = {"type": "video", "url": doc["video"]} | doc["clip"]
        text = {"type": "text", "text": doc["question"]}
        return [{"role": "user", "content": [video, text]}]


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    monkeypatch.setattr(plugin, "Answerer", Echo)
    result = plugin.KerasSTTS(
        "shapes_tiny",
        batch_size=2,
        device="cpu",
        max_batch_size=None,
        prune_ratio=0.5,
        num_frames=4,
    )
    video = write(tmp_path / "a.mp4", "-c:v libx264", rate=10, seconds=2)
    clips = ({}, {"start_time": None}, {"start_time": 1.0, "end_time": 1.2})
    docs = [
        {"video": str(video), "question": f"{i}!", "clip": clip}
        for i, clip in enumerate(clips)
    ]
    result.task_dict = {"task": {"test": docs}}
    result.cache_hook = Hook()
    return result


class Hook:
    def __init__(self):
        self.kept = []

    def add_partial(self, kind, request, answer):
        self.kept.append((kind, request[0], answer))


class Echo:
    """Repeats the question, and tells how many frames it saw."""

    def __init__(self, model, preprocessor, max_new_tokens):
        self.count = max_new_tokens

    def __call__(self, examples):
        assert len(examples["prompts"]) == 2  # Filled up.
        return [
            {"prediction": f"{len(v.frames)} {self.count} {_text(p)} more"}
            for p, v in zip(examples["prompts"], examples["videos"])
        ]


def _text(prompt):
    return prompt[0]["content"][1]["text"]


def test_requests_are_answered_in_their_order(adapter):
    assert adapter.model.backbone.prune_ratio == 0.5
    requests = [Request(2), Request(0, max_new_tokens=3), Request(1)]
    answers = adapter.generate_until(requests)
    # The clip of a fifth of a second has one frame.
    assert answers == ["1 8 2", "4 3 0", "4 8 1"]
    kept = [("generate_until", "text", answer) for answer in answers]
    assert sorted(adapter.cache_hook.kept) == sorted(kept)
    assert np.all([isinstance(answer, str) for answer in answers])


def test_what_is_not_supported_says_so(adapter):
    for name in ("loglikelihood", "generate_until_multi_round"):
        with pytest.raises(NotImplementedError, match="generate_until"):
            getattr(adapter, name)([])


TASK = """
task: shapes_local
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: question
doc_to_messages: !function utils.doc_to_messages
doc_to_target: answer
generation_kwargs: {max_new_tokens: 4}
process_results: !function utils.process_results
metric_list: [{metric: right, aggregation: mean, higher_is_better: true}]
"""
UTILS = """
def doc_to_visual(doc):
    return [doc["video"]]

def doc_to_messages(doc, kwargs=None):
    video = {"type": "video", "url": doc["video"]}
    text = {"type": "text", "text": doc["question"]}
    return [{"role": "user", "content": [video, text]}]

def process_results(doc, results):
    return {"right": float(results[0] == doc["answer"])}
"""


@pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is None, reason="No lmms-eval."
)
def test_lmms_eval_asks_a_task_of_ones_own(tmp_path):
    rows = shapes.generate(tmp_path / "clips", "test", 10)
    table = tmp_path / "test.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "shapes_local.yaml").write_text(TASK % table)
    (tmp_path / "utils.py").write_text(UTILS)
    arguments = "preset=shapes_tiny,prune_ratio=0.5,num_frames=8,max_fps=1.0"
    command = [sys.executable, "-m", "lmms_eval", "--model", "keras_stts"]
    command += ["--model_args", arguments, "--tasks", "shapes_local"]
    command += ["--include_path", tmp_path, "--batch_size", "8"]
    command += ["--output_path", tmp_path / "out"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run(command, check=True, env=os.environ | offline)
    (found,) = (tmp_path / "out").rglob("*results.json")
    results = json.loads(found.read_text())["results"]["shapes_local"]
    assert results["right,none"] > 0.9
