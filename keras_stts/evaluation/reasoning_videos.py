"""Published benchmarks of reasoning about videos: what their files hold.

Each function takes the folder of a benchmark's files and yields its questions,
dicts as `Benchmark` takes them. Sources, with the commits that were read:

- Video-MME-v2: https://github.com/MME-Benchmarks/Video-MME-v2 at b24176a,
  `evaluation/test_video_mme_v2.py` (columns, prompt, parser, ratings), for
  `test.parquet` of the data set MME-Benchmarks/Video-MME-v2. The table itself
  was not read: its format is that of this script and of the task in
  https://github.com/EvolvingLMMs-Lab/lmms-eval at 75571cf.
- MINERVA: https://github.com/google-deepmind/neptune at bdde4b1, `README.md`
  (columns of `minerva.json`). Its authors publish no code: prompt and parser
  are those of lmms-eval's task, at 75571cf. The file itself was not read:
  format from lmms-eval's loader.
- TVBench: https://github.com/daniel-cores/tvbench at c354322, `infer.ipynb` and
  `vqa_dataset.py` (folders, prompt, parser); rows of the published
  `json/action_localization.json` and `json/moving_direction.json`.
- VSI-Bench: https://github.com/vision-x-nyu/thinking-in-space at 51e089c,
  `lmms_eval/tasks/vsibench` (columns, prompts, parser, scores); single rows of
  the published `test.jsonl`.
"""

from keras_stts.data.subtitles import seconds
from keras_stts.evaluation.figures import relative_accuracy
from keras_stts.evaluation.figures import vsi_task
from keras_stts.evaluation.files import find
from keras_stts.evaluation.files import find_video
from keras_stts.evaluation.files import read_json
from keras_stts.evaluation.files import rows
from keras_stts.evaluation.options import inline_options
from keras_stts.evaluation.options import letter
from keras_stts.evaluation.parsers import number

VSI_NUMBER = "Please answer the question using a single word or phrase."
VSI_LETTER = "Answer with the option's letter from the given choices directly."


def video_mme_v2(folder, *, with_subtitles=False):
    for row in rows(
        folder, "test.parquet", "test-*.parquet", "*/test*.parquet"
    ):
        name = row["video_id"]
        places = [f"{root}{name}.mp4" for root in ("videos/", "", "video/")]
        yield {
            "id": row["question_id"],
            "video": find_video(folder, *places),
            "question": row["question"],
            "options": row["options"],
            "choices": inline_options(row["options"])[1],
            "answer": letter(row["answer"]),
            "categories": {
                "level": str(row["level"]),
                "group": row["group_type"],
                "structure": str(row["group_structure"]),
                "ability": str(row["second_head"]),
                "task": str(row["third_head"]),
            },
            "spoken": _spoken(folder, name) if with_subtitles else "",
        }


def _spoken(folder, name):
    """What the prompt says of a video's subtitles, a line for each word."""
    paths = [f"{root}/{name}.jsonl" for root in ("subtitle", "subtitles")]
    words = " ".join(str(row["text"]) for row in rows(folder, *paths))
    return f" This video's subtitles are listed below:\n{words}"


def minerva(folder):
    for row in read_json(find(folder, "minerva.json", "*/minerva.json")[0]):
        name = row["video_id"]
        # The column's name in the README and in lmms-eval's copy.
        kinds = "question type" if "question type" in row else "question_type"
        yield {
            "id": row["key"],
            "video": find_video(folder, f"videos/{name}.mp4", f"{name}.mp4"),
            "question": row["question"].strip(),
            "choices": [row[f"answer_choice_{i}"].strip() for i in range(5)],
            "answer": int(row["answer_id"]),
            "categories": {
                "skill": [kind.strip() for kind in row[kinds].split(",")],
                "split": row["split"],
                "category": row["category"],
            },
        }


def tvbench(folder):
    for path in find(folder, "json/*.json"):
        for i, row in enumerate(read_json(path)):
            task, clip = path.stem, None
            if "start" in row:
                clip = (seconds(row["start"]), seconds(row["end"]))
            choices = row["candidates"]
            lines = [
                f"({x}) {choice}" for x, choice in zip("ABCDEFGH", choices)
            ]
            yield {
                "id": f"{task}_{i}",
                "video": find_video(folder, f"video/{task}/{row['video']}"),
                "question": row["question"],
                "options": "\n".join(lines),
                "choices": choices,
                "answer": choices.index(row["answer"]),
                "categories": {"task": task},
                "clip": clip,
            }


def vsi_bench(folder):
    for row in rows(folder, "test.jsonl", "test-*.parquet", "test.parquet"):
        kind, options = row["question_type"], row["options"]
        place = f"{row['dataset']}/{row['scene_name']}.mp4"
        question = {
            "id": row["id"],
            "video": find_video(folder, place, f"videos/{place}"),
            "question": row["question"],
            "categories": {
                "question": kind,
                "task": vsi_task(kind),
                "dataset": row["dataset"],
            },
        }
        yield question | (_numeric(row) if options is None else _lettered(row))


def _numeric(row):
    if not float(row["ground_truth"]) > 0:
        raise ValueError(f"the number {row['ground_truth']!r} is not positive")
    return {
        "answer": row["ground_truth"],
        "parse": number,
        "credit": relative_accuracy,
        "request": VSI_NUMBER,
    }


def _lettered(row):
    lines = "\n".join(row["options"])
    return {
        "choices": list(row["options"]),
        "answer": letter(row["ground_truth"]),
        "request": f"Options:\n{lines}\n{VSI_LETTER}",
    }
