"""Four benchmarks of reasoning: their questions, parsers and figures."""

import pytest

from keras_stts.evaluation import BENCHMARKS
from keras_stts.evaluation import PARSERS
from keras_stts.evaluation import Benchmark
from keras_stts.evaluation import Question
from keras_stts.evaluation import figures
from keras_stts.evaluation import parsers
from keras_stts.evaluation import table
from keras_stts.evaluation.results import summarize
from keras_stts.evaluation.scores import interval
from keras_stts.evaluation.scores import mark
from keras_stts.evaluation.scores import score
from tests.evaluation import formats
from tests.evaluation.results_test import result

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*was published with"),
]


def load(name, folder):
    formats.write(name, folder)
    return BENCHMARKS[name].load(folder)


def test_what_questions_are_about(tmp_path):
    asked = load("video_mme_v2", tmp_path / "v2")[0]
    assert asked.categories == {
        "level": "1",
        "group": "logic",
        "structure": "[1, [2, 3], 4]",
        "ability": "Frames & Audio",
        "task": "Recognition",
    }
    for asked in load("minerva", tmp_path / "minerva"):
        skills = ["Counting", "Temporal Reasoning"]
        assert asked.categories["skill"] == skills
    clipped, whole = load("tvbench", tmp_path / "tvbench")
    assert clipped.clip == (19.5, 36.4) and whole.clip is None
    count, direction = load("vsi_bench", tmp_path / "vsi")
    assert count.categories["task"] == "object_counting"
    assert direction.categories["task"] == "object_rel_direction"
    assert direction.prompt.endswith(
        "y-axis).\nOptions:\nA. front-left\nB. back-right\nC. back-left\nD. "
        "front-right\nAnswer with the option's letter from the given choices "
        "directly."
    )


def asked(answer=0, choices=("p", "q", "r"), **about):
    about = {"id": "1-1", "video": "a", "prompt": "", **about}
    return Question(
        answer=answer, choices=choices, parse=PARSERS["letter"], **about
    )


NUMBERS = {
    "4": "4",
    "3.5 metres": "3.5",
    " 4.": "4",
    "four": None,
    "about 4": None,
    "": None,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_begin_an_answer(text):
    assert parsers.number(text, asked(4, ())) == NUMBERS[text]


def test_numbers_are_partly_right(tmp_path):
    count, _ = load("vsi_bench", tmp_path)
    # A relative error of 25% keeps the bounds of 50, 45, 40, 35, 30 and 25%.
    for text, share in (("4", 1), ("4.0", 1), ("5", 0.6), ("3", 0.6)):
        assert mark(count, text)["right"] == pytest.approx(share), text
    # Errors of 50% and more keep one bound and none; 4.1 keeps all.
    for text, share in (("2", 0.1), ("9", 0), ("4.1", 1), ("nan", 0)):
        assert mark(count, text)["right"] == pytest.approx(share), text
    lost = mark(count, "four")
    assert lost == {"parsed": None, "right": False, "unparsed": True}
    found = score([count, count], [mark(count, "5"), mark(count, "4")])
    assert found["accuracy"] == pytest.approx(0.8)
    low, high = interval([0.6, 1.0], ["a", "b"])
    assert 0 <= low < 0.8 < high <= 1


def group(video, structure, **about):
    kind = "logic" if structure else "relevance"
    return [
        asked(
            id=f"{video}-{i}",
            video=video,
            categories={
                "group": kind,
                "structure": str(structure),
                "level": "1",
                **about,
            },
        )
        for i in (1, 2, 3, 4)
    ]


# Of the authors' scoring: https://github.com/MME-Benchmarks/Video-MME-v2 at
# b24176a, evaluation/test_video_mme_v2.py, run for these answers.
RATINGS = [
    (None, [1, 0, 1, 0], 4 / 16),
    (None, [1, 1, 1, 1], 1),
    (None, [0, 0, 0, 0], 0),
    ([1, 2, 3, 4], [1, 1, 0, 1], 4 / 16),
    ([1, 2, 3, 4], [0, 1, 1, 1], 0),
    ([1, [2, 3], 4], [1, 0, 1, 1], 4 / 12),
    ([1, [2, 3], 4], [1, 1, 0, 1], 4 / 12),
    ([1, [2, 3], 4], [1, 1, 1, 0], 7 / 12),
    ([[1, 2], 3, 4], [0, 1, 1, 1], 1 / 10),
    ([[1, 2], 3, 4], [1, 0, 0, 1], 1 / 10),
    ([[1, 2], 3, 4], [1, 1, 1, 0], 5 / 10),
    ([[1, 2], 3, 4], [1, 1, 1, 1], 1),
]


@pytest.mark.parametrize(("structure", "right", "rating"), RATINGS)
def test_answers_to_one_video_count_together(structure, right, rating):
    questions = group("a", structure)
    found = figures.video_mme_v2(questions[::-1], right[::-1])
    kind = "logic" if structure else "relevance"
    assert found == pytest.approx(
        {"rating": rating, "level 1": rating, kind: rating}
    )


def test_ratings_are_means_over_groups():
    questions = group("a", None) + group("b", [1, 2, 3, 4], level="3")
    found = figures.video_mme_v2(questions, [1] * 6 + [0] * 2)
    assert found == {
        "rating": (1 + 4 / 16) / 2,
        "level 1": 1,
        "level 3": 4 / 16,
        "relevance": 1,
        "logic": 4 / 16,
    }
    # A group that was not asked to the end does not count.
    assert figures.video_mme_v2(questions[:7], [1] * 7)["rating"] == 1
    assert figures.video_mme_v2(questions[:3], [1] * 3) == {}
    with pytest.raises(ValueError, match="must be one of.*'\\[4, 3\\]'"):
        figures.video_mme_v2(group("a", [4, 3]), [1] * 4)


def test_tasks_of_vsi_bench_count_alike():
    kinds = ["object_counting"] * 2 + ["object_rel_direction_easy"] * 3
    kinds += ["object_rel_direction_hard", "route_planning"]
    questions = [asked(categories={"question": kind}) for kind in kinds]
    found = figures.vsi_bench(questions, [0.5, 0.7, 1, 1, 0, 0, 1])
    assert found == pytest.approx(
        {
            "mean of tasks": (0.6 + 1 / 3 + 1) / 3,
            "object_counting": 0.6,
            "object_rel_direction": (2 / 3 + 0) / 2,
            "route_planning": 1.0,
        }
    )


def test_a_number_that_is_not_positive_is_refused(tmp_path):
    row = {
        "id": 0,
        "dataset": "a",
        "scene_name": "b",
        "question_type": "object_counting",
        "question": "How many?",
        "ground_truth": "0",
        "options": None,
    }
    formats.write_lines(tmp_path / "test.jsonl", [row])
    with pytest.raises(ValueError, match="the number '0' is not positive"):
        BENCHMARKS["vsi_bench"].load(tmp_path)


class Counted:
    def flops(self, **sizes):
        return {"total": 1}


def test_figures_are_part_of_results_and_tables(tmp_path):
    row = {"id": 1, "video": "a", "question": "Q", "choices": ["x", "y"]}
    rows = [row | {"answer": 0}, row | {"id": 2, "answer": 1}]

    def best(questions, shares):
        return {"best": max(shares), "worst": min(shares)}

    mine = Benchmark("mine", lambda _: rows, parse="letter", figures=best)
    questions = mine.load(tmp_path)
    cost = {"compile_seconds": 0, "peak_memory": {"host": 1, "device": None}}
    for name in ("vision_tokens", "vision_tokens_left", "prompt_tokens"):
        cost[name] = 1
    for name in ("answer_tokens", "prefill_seconds", "decode_seconds"):
        cost[name] = 1
    entries = {
        q.id: {"prediction": "A", "batch_size": 1, **cost} for q in questions
    }
    found = summarize(Counted(), questions, entries, 8, figures=best)
    assert found["figures"] == {"best": 1.0, "worst": 0.0}
    assert "figures" not in summarize(Counted(), questions, entries, 8)
    lines = table(
        [
            result("video_mme_v2", figures={"rating": 0.25}),
            result("video_mme_v2", ratio=0.0, figures={"rating": 0.5}),
            result("mlvu"),
        ]
    ).split("\n")
    assert [line.split() for line in lines[1:4]] == [
        ["video_mme_v2", "60.0", "(50.0-70.0)", "60.0", "(50.0-70.0)"],
        ["video_mme_v2,", "rating", "25.0", "50.0"],
        ["mlvu", "60.0", "(50.0-70.0)", "-"],
    ]
