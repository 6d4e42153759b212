"""Benchmarks read from files in their published formats."""

import json
import pathlib

import pytest

import keras_stts
from keras_stts.evaluation import BENCHMARKS
from keras_stts.evaluation import PARSERS
from keras_stts.evaluation import Benchmark
from keras_stts.evaluation import get_benchmark
from keras_stts.evaluation import options
from tests.evaluation import formats

pytestmark = pytest.mark.filterwarnings("ignore:.*was published with")


def load(name, folder):
    formats.write(name, folder)
    return BENCHMARKS[name].load(folder)


@pytest.mark.parametrize("name", formats.PROMPTS)
def test_prompt_video_and_answers(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path.parent)
    questions = load(name, pathlib.Path(tmp_path.name))
    video, answers = formats.FACTS[name]
    assert questions[0].prompt == formats.PROMPTS[name]
    assert questions[0].video == str(tmp_path / video)
    assert [question.answer for question in questions] == answers
    assert all(question.categories for question in questions) or (
        name == "egoschema"
    )


def test_all_published_benchmarks_are_there():
    assert set(BENCHMARKS) == set(formats.PROMPTS) | {"shapes"}
    groups = [benchmark.group for benchmark in BENCHMARKS.values()]
    assert groups.count("short") == 6 and groups.count("long") == 7
    tokens = {name: b.max_new_tokens for name, b in BENCHMARKS.items()}
    longer = {n: count for n, count in tokens.items() if count != 12}
    assert longer == {
        "mvbench": 32,
        "tomato": 32,
        "video_eval_pro": 32,
        "egoschema": 32,
        "tempcompass": 192,
        "video_mme_v2": 64,
        "video_mme_v2_subtitles": 64,
        "minerva": 32,
        "tvbench": 100,
        "vsi_bench": 16,
    }
    quirks = {n: b.unparsed for n, b in BENCHMARKS.items()}
    assert {n: rule for n, rule in quirks.items() if rule != "wrong"} == {
        "nextqa": "random",
        "egoschema": "random",
        "longvideobench": "random",
        "longvideobench_subtitles": "random",
        "video_mme": "dropped",
        "video_mme_subtitles": "dropped",
        "video_mme_v2": "dropped",
        "video_mme_v2_subtitles": "dropped",
        "minerva": "random",
    }


def test_clips_and_folders_of_frames(tmp_path):
    clip, folder = load("mvbench", tmp_path)
    assert clip.clip == (2.5, 8.0) and clip.fps is None
    assert folder.clip == (0.0, 4.0) and folder.fps == 3.0
    assert folder.video.endswith("video/tvqa/frames_fps3_hq/s01/clip_0")


def test_other_places_and_endings_of_videos(tmp_path):
    place = tmp_path / "video/data0613/star/Charades_v1_480/ABC.mkv"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert load("mvbench", tmp_path)[0].video == str(place)


def test_tasks_of_tempcompass_are_parsed_each_in_its_way(tmp_path):
    questions = load("tempcompass", tmp_path)
    texts = ("B) sitting", "No, it sits", "Caption B")
    for question, text in zip(questions, texts):
        assert question.parse(text, question) == question.answer == 1
    assert questions[1].prompt == "Is it running?\nPlease answer yes or no:"
    tasks = [question.categories["task"] for question in questions]
    assert tasks == ["multi-choice", "yes_no", "caption_matching"]


def test_subtitles_of_video_mme(tmp_path):
    spoken, silent = load("video_mme_subtitles", tmp_path)
    assert spoken.subtitles == ((1.5, 3.0, "Look here"), (3600, 3602.25, "Bye"))
    assert silent.subtitles is None
    assert BENCHMARKS["video_mme"].load(tmp_path)[0].subtitles is None


@pytest.mark.parametrize(
    "lines",
    [
        [[1.5, 3, "Hi"]],
        [{"start": "00:00:01.5", "end": 3, "text": "Hi"}],
        {"(1.5, 3.0)": "Hi"},
    ],
)
def test_subtitles_of_video_mme_in_one_file(tmp_path, lines):
    formats.write_json(tmp_path / "subtitles.json", {"fFjv93ACGo8": lines})
    spoken, silent = load("video_mme_subtitles", tmp_path)
    assert spoken.subtitles == ((1.5, 3.0, "Hi"),) and silent.subtitles is None


def test_both_formats_of_longvideobench_subtitles(tmp_path):
    one, other = load("longvideobench_subtitles", tmp_path)
    assert one.subtitles == ((1.5, 3.0, "Hi"),)
    assert other.subtitles == ((2.0, 4.5, "Well"), (18.0, 20.0, "Bye"))


def test_a_question_may_be_of_several_types(tmp_path):
    types = load("lvbench", tmp_path)[0].categories["question"]
    assert types == ["key information retrieval", "reasoning"]


def test_open_ended_tasks_of_mlvu_are_left_out(tmp_path):
    formats.write("mlvu", tmp_path)
    row = {"video": "a.mp4", "question": "Summarize.", "answer": "A man ..."}
    formats.write_json(tmp_path / "json/9_summary.json", [row])
    found = BENCHMARKS["mlvu"].load(tmp_path)
    assert {q.categories["task"] for q in found} == {"needle"}


OPTIONS = [
    ("Q?\nA. x\nB. y", "Q?", ["x", "y"]),
    ("Q?\n(A) x\n(B) y of\nz\n(C) w", "Q?", ["x", "y of\nz", "w"]),
    ("A. Smith does what?\nA. x\nB. y", "A. Smith does what?", ["x", "y"]),
    ("Q? A. x\nB. y\nC. z", "Q?", ["x", "y", "z"]),
    ("Q?\nA. x B. y", "Q?", ["x", "y"]),
    ("Of C. elegans?\nA. x\nB. y", "Of C. elegans?", ["x", "y"]),
    ("Which one?", "Which one?", [*"ABCD"]),
    ("Did A. Smith?", "Did A. Smith?", [*"ABCD"]),
]


@pytest.mark.parametrize(("text", "question", "choices"), OPTIONS)
def test_options_within_questions(text, question, choices):
    assert options.inline_options(text) == (question, choices)


def test_published_sizes_are_compared(tmp_path):
    formats.write("mlvu", tmp_path)
    with pytest.warns(UserWarning, match="with 2174 questions; 2 were found"):
        BENCHMARKS["mlvu"].load(tmp_path)


def test_shapes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = keras_stts.datasets.shapes.generate("clips", "test", 1)
    questions = BENCHMARKS["shapes"].load("clips")
    assert [q.prompt for q in questions] == [row["question"] for row in rows]
    assert [q.answer for q in questions] == [row["answer"] for row in rows]
    assert questions[0].video == rows[0]["video"]
    assert questions[0].choices == ()


def test_a_table_is_a_benchmark(tmp_path):
    path = tmp_path / "mine.jsonl"
    row = {"video": "a.mp4", "prompt": "what?", "response": "a dog"}
    rows = [row | {"clip": [1, 2]}, row | {"categories": {"kind": "dog"}}]
    formats.write_lines(path, rows)
    one, other = get_benchmark(str(path)).load(tmp_path)
    assert one.video == str(tmp_path / "a.mp4")
    assert one.answer == "a dog" and one.clip == [1, 2]
    assert other.categories == {"kind": "dog"}
    assert get_benchmark(path).name == "mine"


def test_a_benchmark_of_ones_own_is_a_dozen_lines(tmp_path):
    def read(folder):
        for line in open(folder / "questions.jsonl"):
            row = json.loads(line)
            yield {**row, "video": f"clips/{row['video']}.mp4"}

    mine = Benchmark("mine", read, "{question}\n{options}\nWhich?", "letter")
    row = {"id": 1, "video": "a", "question": "Q", "choices": ["x", "y"]}
    rows = [row | {"id": i, "answer": a} for i, a in enumerate(["y", "A", 1])]
    formats.write_lines(tmp_path / "questions.jsonl", rows)
    questions = mine.load(tmp_path)
    assert questions[0].prompt == "Q\nA. x\nB. y\nWhich?"
    assert questions[0].video == str(tmp_path / "clips/a.mp4")
    assert [question.answer for question in questions] == [1, 0, 1]
    assert questions[0].parse is PARSERS["letter"]
    assert get_benchmark(mine) is mine


ROW = {"id": 1, "video": "a", "question": "Q", "answer": "z", "choices": "xy"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "must have questions, each with an `id` of its own"),
        ([ROW | {"answer": "x"}] * 2, "with repeated ids: \\['1'\\]"),
        ([ROW], "one of the choices, its letter or its number.*'z' of"),
        ([ROW | {"answer": 2}], "answer=2 of question 1"),
        ([ROW | {"answer": -1}], "answer=-1 of question 1"),
        ([{"id": 1}], "without answer, question, video"),
    ],
)
def test_bad_questions(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        Benchmark("mine", lambda folder: rows).load(tmp_path)


@pytest.mark.parametrize("name", formats.PROMPTS)
def test_missing_files_are_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="must hold .*holds none"):
        BENCHMARKS[name].load(tmp_path)


def test_damaged_and_unknown_files(tmp_path):
    formats.write("mlvu", tmp_path)
    (tmp_path / "json/2_needle.json").write_text("[{")
    with pytest.raises(ValueError, match="must be JSON.*2_needle.json"):
        BENCHMARKS["mlvu"].load(tmp_path)
    row = {"video": "a.mp4", "question": "?", "candidates": ["red"]}
    rows = [row | {"answer": "red"}, row | {"answer": "blue"}]
    for wrong, message in (
        (rows, "'blue' is not in list after question 2_needle_0"),
        ([row], "KeyError: 'answer'"),
        ({"a": row}, "mlvu must be as published. Received: TypeError"),
    ):
        formats.write_json(tmp_path / "json/2_needle.json", wrong)
        with pytest.raises(ValueError, match=message):
            BENCHMARKS["mlvu"].load(tmp_path)
    with pytest.raises(ValueError, match="'b' is no letter"):
        options.letter("b")
    with pytest.raises(ValueError, match="'' is no letter"):
        options.letter("")
    with pytest.raises(ValueError, match="one of nextqa, perception_test"):
        get_benchmark("nextq")
