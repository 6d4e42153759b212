"""The published benchmarks: what they read, how they ask and how they mark.

Prompts and parsers are those of the evaluation code of STTS' and Molmo2's
authors, of lmms-eval for TempCompass.
"""

import functools
import re

from keras_stts.data.manifest import read_manifest
from keras_stts.data.paths import as_path
from keras_stts.data.subtitles import as_subtitles
from keras_stts.data.subtitles import read_srt
from keras_stts.data.subtitles import seconds
from keras_stts.evaluation.files import find
from keras_stts.evaluation.files import find_video
from keras_stts.evaluation.files import read_json
from keras_stts.evaluation.files import rows
from keras_stts.evaluation.manifests import from_manifest
from keras_stts.evaluation.questions import LETTERS
from keras_stts.evaluation.questions import Benchmark

QUESTION = "{question}\n{options}\n"
ONLY_LETTER = (
    QUESTION + "Please respond with only the letter of the correct answer."
)
DIRECTLY = (
    QUESTION
    + "Answer with the option's letter from the given choices directly."
)
VIDEO_MME = (
    "Select the best answer to the following multiple-choice question based "
    "on the video{and_subtitles}. Respond with only the letter (A, B, C, or "
    "D) of the correct option.\n" + QUESTION + "The best answer is:"
)
TOMATO = "{question}\nOnly return the correct answer option.\n{options}"

# Folders of MVBench's videos; frames of the last one are 3 a second.
MVBENCH = {
    "action_sequence": ("star/Charades_v1_480",),
    "action_prediction": ("star/Charades_v1_480",),
    "action_antonym": ("ssv2_video", "ssv2_video_mp4"),
    "fine_grained_action": ("Moments_in_Time_Raw/videos",),
    "unexpected_action": ("FunQA_test/test",),
    "object_existence": ("clevrer/video_validation",),
    "object_interaction": ("star/Charades_v1_480",),
    "object_shuffle": ("perception/videos",),
    "moving_direction": ("clevrer/video_validation",),
    "action_localization": ("sta/sta_video",),
    "scene_transition": ("scene_qa/video",),
    "action_count": ("perception/videos",),
    "moving_count": ("clevrer/video_validation",),
    "moving_attribute": ("clevrer/video_validation",),
    "state_change": ("perception/videos",),
    "fine_grained_pose": ("nturgbd", "nturgbd_convert"),
    "character_order": ("perception/videos",),
    "egocentric_navigation": ("vlnqa",),
    "episodic_reasoning": ("tvqa/frames_fps3_hq",),
    "counterfactual_inference": ("clevrer/video_validation",),
}
# Tasks of MLVU that ask for a text, which no parser marks.
MLVU_OPEN_ENDED = ("8_sub_scene", "9_summary")
TEMPCOMPASS = {
    "multi-choice": ("letter mark", "Please directly give the best option:"),
    "yes_no": ("yes or no", "Please answer yes or no:"),
    "caption_matching": ("caption", "Please directly give the best option:"),
}


def _nextqa(folder):
    for i, row in enumerate(rows(folder, "MC/test-*.parquet", "test.csv")):
        yield {
            "id": f"{row['video']}_{row.get('qid', i)}",
            "video": find_video(folder, f"NExTVideo/{row['video']}.mp4"),
            "question": row["question"],
            "choices": [row[f"a{i}"] for i in range(5)],
            "answer": int(row["answer"]),
            "categories": {"type": row["type"]},
        }


def _perception_test(folder):
    for row in rows(folder, "mc_question_val/*.parquet"):
        yield {
            "id": f"{row['video_name']}_{row['question_id']}",
            "video": find_video(folder, f"videos/{row['video_name']}.mp4"),
            "question": row["question"],
            "choices": row["options"],
            "answer": int(row["answer_id"]),
            "categories": {"area": row["area"], "reasoning": row["reasoning"]},
        }


def _mvbench(folder):
    for path in find(folder, "json/*.json"):
        for i, row in enumerate(read_json(path)):
            task, clip = path.stem, None
            if "start" in row:
                clip = (seconds(row["start"]), seconds(row["end"]))
            places = [
                f"video/{root}{place}/{row['video']}"
                for place in MVBENCH[task]
                for root in ("", "data0613/")
            ]
            yield {
                "id": f"{task}_{i}",
                "video": find_video(folder, *places),
                "question": row["question"],
                "choices": row["candidates"],
                "answer": row["candidates"].index(row["answer"]),
                "categories": {"task": task},
                "clip": clip,
                "fps": 3.0 if task == "episodic_reasoning" else None,
            }


def _tomato(folder):
    for path in find(folder, "data/*.json"):
        for number, row in read_json(path).items():
            kind, key = row["demonstration_type"], row["key"]
            yield {
                "id": f"{path.stem}_{number}",
                "video": find_video(folder, f"videos/{kind}/{key}.mp4"),
                "question": row["question"],
                "choices": row["options"],
                "answer": int(row["answer"]),
                "categories": {
                    "task": path.stem,
                    "demonstration": kind,
                    "motion": row["motion_type"],
                },
            }


def _motion_bench(folder):
    for row in rows(folder, "MotionBench/video_info.meta.jsonl"):
        places = [
            f"MotionBench/{part}/{row['video_path']}"
            for part in ("self-collected", "public-dataset")
        ]
        for item in row["qa"]:
            if item["answer"] == "NA":
                continue  # Of the test set, whose answers are not published.
            _, choices = _inline_options(item["question"])
            yield {
                "id": item["uid"],
                "video": find_video(folder, *places),
                "question": item["question"],
                "choices": choices,
                "answer": _letter(item["answer"]),
                "categories": {"type": row["question_type"]},
            }


def _tempcompass(folder):
    for task, (parse, request) in TEMPCOMPASS.items():
        for i, row in enumerate(rows(folder, f"{task}/test-*.parquet")):
            _, *choices = row["question"].split("\n")
            answer = row["answer"]
            if task == "yes_no":
                choices, answer = ["yes", "no"], answer.lower()
            yield {
                "id": f"{task}_{i}",
                "video": find_video(folder, f"videos/{row['video_id']}.mp4"),
                "question": row["question"],
                "request": request,
                "choices": choices,
                "answer": choices.index(answer),
                "categories": {"task": task, "dimension": row["dim"]},
                "parse": parse,
            }


def _video_mme(folder, with_subtitles=False):
    spoken = _video_mme_subtitles(folder) if with_subtitles else None
    for row in rows(folder, "videomme/test-*.parquet"):
        name = row["videoID"]
        yield {
            "id": row["question_id"],
            "video": find_video(folder, f"data/{name}.mp4"),
            "question": row["question"],
            "options": "\n".join(row["options"]),
            "choices": row["options"],
            "answer": _letter(row["answer"]),
            "categories": {
                n: row[n]
                for n in ("duration", "domain", "sub_category", "task_type")
            },
            "and_subtitles": " and the subtitles" if spoken else "",
            "subtitles": spoken(name) if spoken else None,
        }


def _video_mme_subtitles(folder):
    """Function of a video's name: its subtitles, `None` if nobody speaks."""
    path = find(folder, "subtitles.json", "subtitle")[0]
    if path.suffix == ".json":
        table = read_json(path)
        return lambda name: tuple(as_subtitles(table.get(name, []))) or None

    def read(name):
        file = path / f"{name}.srt"
        return tuple(read_srt(file)) if file.exists() else None

    return read


def _long_video_bench(folder, with_subtitles=False):
    for row in read_json(find(folder, "lvb_val.json")[0]):
        yield {
            "id": row["id"],
            "video": find_video(folder, f"videos/{row['video_path']}"),
            "question": row["question"],
            "choices": row["candidates"],
            "answer": int(row["correct_choice"]),
            "categories": {
                "duration": str(row["duration_group"]),
                "question": row["question_category"],
                "level": row["level"],
            },
            "subtitles": _spoken(folder, row) if with_subtitles else None,
        }


def _spoken(folder, row):
    """LongVideoBench's subtitles, from the start of what is shown."""
    path = find(folder, f"subtitles/{row['subtitle_path']}")[0]
    shift, lines = row["starting_timestamp_for_subtitles"], []
    for line in read_json(path):
        start, end = line.get("timestamp") or (line["start"], line["end"])
        end = row["duration"] + shift if end is None else seconds(end)
        text = line["text"] if "text" in line else line["line"]
        lines.append((seconds(start) - shift, end - shift, text))
    return tuple(lines)


def _mlvu(folder):
    for path in find(folder, "json/*.json"):
        if path.stem in MLVU_OPEN_ENDED:
            continue
        for i, row in enumerate(read_json(path)):
            places = [f"{v}/{path.stem}/{row['video']}" for v in VIDEO_FOLDERS]
            yield {
                "id": f"{path.stem}_{i}",
                "video": find_video(folder, *places),
                "question": row["question"],
                "choices": row["candidates"],
                "answer": row["candidates"].index(row["answer"]),
                "categories": {"task": path.stem.partition("_")[2]},
            }


def _lvbench(folder):
    for row in rows(folder, "video_info.meta.jsonl"):
        places = [f"{v}/{row['key']}.mp4" for v in VIDEO_FOLDERS]
        for item in row["qa"]:
            question, choices = _inline_options(item["question"])
            yield {
                "id": item["uid"],
                "video": find_video(folder, *places),
                "question": question,
                "choices": choices,
                "answer": _letter(item["answer"]),
                "categories": {
                    "type": row["type"],
                    "question": item["question_type"],
                },
            }


def _video_eval_pro(folder):
    for i, row in enumerate(rows(folder, "data/test-*.parquet")):
        yield {
            "id": f"{row['source']}_{i}",
            "video": find_video(folder, f"videos_filtered/{row['video']}"),
            "question": row["question"],
            "options": "\n".join(row["options"]),
            "choices": row["options"],
            "answer": _letter(row["answer"]),
            "categories": {"type": row["qa_type"], "source": row["source"]},
        }


def _egoschema(folder):
    for row in rows(folder, "Subset/test-*.parquet"):
        yield {
            "id": row["question_idx"],
            "video": find_video(folder, f"videos/{row['video_idx']}.mp4"),
            "question": row["question"],
            "options": "\n".join(row["option"]),
            "choices": row["option"],
            "answer": int(row["answer"]),
        }


def _shapes(folder):
    for row in read_manifest(folder / "test.jsonl"):
        yield {
            "id": row["id"],
            "video": row["video"],
            "question": row["prompt"],
            "answer": row["response"],
            "categories": {"kind": row["kind"]},
        }


VIDEO_FOLDERS = ("video", "videos", ".")
# The letter of an option at the start of a line, or within one.
_AT_START = re.compile(r"^[ \t]*\(?([A-H])[).:]\s*", re.M)
_ANYWHERE = re.compile(r"(?:^|(?<=\s))\(?([A-H])[).:]\s+", re.M)


def _inline_options(text):
    """A question without the options in its text, and these."""
    for pattern in (_AT_START, _ANYWHERE):
        marks = list(pattern.finditer(text))
        starts = [i for i, m in enumerate(marks) if m[1] == LETTERS[0]]
        marks = marks[starts[-1] :] if starts else []
        letters = "".join(mark[1] for mark in marks)
        if len(letters) > 1 and LETTERS.startswith(letters):
            ends = [mark.start() for mark in marks[1:]] + [None]
            choices = [text[m.end() : e] for m, e in zip(marks, ends)]
            question = text[: marks[0].start()].strip()
            return question, [choice.strip() for choice in choices]
    return text.strip(), list("ABCD")


def _letter(answer):
    """The number of an option that is named by its letter."""
    if len(answer) != 1 or answer not in LETTERS:
        raise ValueError(f"the answer {answer!r} is no letter of an option")
    return LETTERS.index(answer)


_authors = functools.partial(Benchmark, sampling="uniform_last_frame")
_short = functools.partial(_authors, group="short")
_long = functools.partial(_authors, group="long")
_video_mme_spoken = functools.partial(_video_mme, with_subtitles=True)
_long_video_bench_spoken = functools.partial(
    _long_video_bench, with_subtitles=True
)

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        # name, files, prompt, parser, longest answer
        _short(
            "nextqa",
            _nextqa,
            DIRECTLY,
            "marked last",
            size=8564,
            unparsed="random",
        ),
        _short(
            "perception_test",
            _perception_test,
            DIRECTLY,
            "letter word",
            size=19140,
        ),
        _short("mvbench", _mvbench, ONLY_LETTER, "letter", 32, size=4000),
        _short("tomato", _tomato, TOMATO, "closest", 32, size=1484),
        _short("motionbench", _motion_bench, "{question}", "letter"),
        _short(
            "tempcompass",
            _tempcompass,
            "{question}\n{request}",
            "letter mark",
            192,
            size=5536,
        ),
        _long(
            "video_mme",
            _video_mme,
            VIDEO_MME,
            "first of A-D",
            size=2700,
            unparsed="dropped",
        ),
        _long(
            "video_mme_subtitles",
            _video_mme_spoken,
            VIDEO_MME,
            "first of A-D",
            size=2700,
            unparsed="dropped",
        ),
        _long(
            "longvideobench",
            _long_video_bench,
            DIRECTLY,
            "first of A-E",
            size=1337,
            unparsed="random",
        ),
        _long(
            "longvideobench_subtitles",
            _long_video_bench_spoken,
            DIRECTLY,
            "first of A-E",
            size=1337,
            unparsed="random",
        ),
        _long("mlvu", _mlvu, DIRECTLY, "letter", size=2174),
        _long("lvbench", _lvbench, ONLY_LETTER, "capital", size=1549),
        _long(
            "video_eval_pro",
            _video_eval_pro,
            ONLY_LETTER,
            "letter",
            32,
            size=1289,
        ),
        _authors(
            "egoschema",
            _egoschema,
            DIRECTLY,
            "marked first",
            32,
            size=500,
            unparsed="random",
        ),
        Benchmark("shapes", _shapes),
    )
}


def get_benchmark(name):
    """A `Benchmark` by its name, of a table's path, or as it is.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(name, Benchmark):
        return name
    if str(name) in BENCHMARKS:
        return BENCHMARKS[str(name)]
    if as_path(name).suffix:
        return from_manifest(name)
    raise ValueError(
        "`benchmark` must be a `Benchmark`, a table of videos, prompts and "
        f"responses, or one of {', '.join(BENCHMARKS)}. Received: {name!r}."
    )
