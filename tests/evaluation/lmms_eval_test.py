"""The plug-in: without lmms-eval, and with it where it is installed."""

import dataclasses
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
            {
                "prediction": f"{len(v.frames)} {self.count} {_text(p)} more",
                "vision_tokens": 10 * len(v.frames),
                "vision_tokens_left": 5,
                "prompt_tokens": 7,
                "answer_tokens": 3,
                "prefill_seconds": 0.25,
                "decode_seconds": 0.75,
                "compile_seconds": 2.0,
            }
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


@dataclasses.dataclass
class Counts:
    input_tokens: int
    output_tokens: int


@dataclasses.dataclass
class Result:
    text: str
    token_counts: Counts


def test_tokens_and_times_are_reported(adapter, monkeypatch):
    logged = []
    monkeypatch.setattr(plugin, "GenerationResult", Result)
    monkeypatch.setattr(plugin, "TokenCounts", Counts)
    monkeypatch.setattr(plugin, "log_metrics", lambda **x: logged.append(x))
    answers = adapter.generate_until(
        [Request(2), Request(0, max_new_tokens=3), Request(1)]
    )
    # One frame or four, ten tokens each, and seven of the text; the answers'
    # end tokens count where there is room for them.
    assert answers == [
        Result("1 8 2", Counts(17, 4)),
        Result("4 3 0", Counts(47, 3)),
        Result("4 8 1", Counts(47, 4)),
    ]
    assert [kept[2] for kept in adapter.cache_hook.kept] == [
        "1 8 2",
        "4 8 1",
        "4 3 0",
    ]
    (found,) = logged
    more = found.pop("additional_metrics")
    assert found == {
        "total_elapsed_time": 3.0,
        "total_gen_tokens": 11,
        "avg_speed": pytest.approx(11 / 3),
    }
    assert more == {
        "total_requests": 3,
        "ttft": 0.5,  # Batches of two.
        "tpot": pytest.approx((1.5 / 4 + 1.5 / 3 + 1.5 / 4) / 3),
        "vision_tokens": 30.0,
        "vision_tokens_left": 5.0,
        "compile_seconds": 6.0,
    }


def test_without_requests_nothing_is_logged(adapter, monkeypatch):
    monkeypatch.setattr(plugin, "log_metrics", lambda **x: 1 / 0)
    assert adapter.generate_until([]) == []


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
    command += ["--output_path", tmp_path / "out", "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run(command, check=True, env=os.environ | offline)
    (found,) = (tmp_path / "out").rglob("*results.json")
    results = json.loads(found.read_text())
    assert results["results"]["shapes_local"]["right,none"] > 0.9
    tokens = results["efficiency"]["overall"]
    assert tokens["docs_with_token_counts"] == len(rows)
    assert tokens["total_input_tokens"] > tokens["total_output_tokens"] > 0
    times = results["throughput"]
    assert times["total_gen_tokens"] == tokens["total_output_tokens"]
    assert times["total_elapsed_time"] > 0 and times["avg_ttft"] > 0
