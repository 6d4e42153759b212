"""Published benchmarks of long videos: what their files hold.

Each function takes the folder of a benchmark's files and yields its questions,
dicts as `Benchmark` takes them.
"""

from keras_stts.data.subtitles import as_subtitles
from keras_stts.data.subtitles import read_srt
from keras_stts.data.subtitles import seconds
from keras_stts.evaluation.files import find
from keras_stts.evaluation.files import find_video
from keras_stts.evaluation.files import read_json
from keras_stts.evaluation.files import rows
from keras_stts.evaluation.options import inline_options
from keras_stts.evaluation.options import letter

# Tasks of MLVU that ask for a text, which no parser marks.
MLVU_OPEN_ENDED = ("8_sub_scene", "9_summary")
VIDEO_FOLDERS = ("video", "videos", ".")


def video_mme(folder, *, with_subtitles=False):
    spoken = _video_mme_subtitles(folder) if with_subtitles else None
    for row in rows(folder, "videomme/test-*.parquet"):
        name = row["videoID"]
        yield {
            "id": row["question_id"],
            "video": find_video(folder, f"data/{name}.mp4"),
            "question": row["question"],
            "options": "\n".join(row["options"]),
            "choices": row["options"],
            "answer": letter(row["answer"]),
            "categories": {
                n: row[n]
                for n in ("duration", "domain", "sub_category", "task_type")
            },
            "and_subtitles": " and the subtitles" if spoken else "",
            "subtitles": spoken(name) if spoken else None,
        }


def _video_mme_subtitles(folder):
    """Function of a video's name to its subtitles, `None` if it has none."""
    path = find(folder, "subtitles.json", "subtitle")[0]
    if path.suffix == ".json":
        table = read_json(path)
        return lambda name: tuple(as_subtitles(table.get(name, []))) or None

    def read(name):
        file = path / f"{name}.srt"
        return tuple(read_srt(file)) if file.exists() else None

    return read


def long_video_bench(folder, *, with_subtitles=False):
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


def mlvu(folder):
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


def lvbench(folder):
    for row in rows(folder, "video_info.meta.jsonl"):
        places = [f"{v}/{row['key']}.mp4" for v in VIDEO_FOLDERS]
        for item in row["qa"]:
            question, choices = inline_options(item["question"])
            yield {
                "id": item["uid"],
                "video": find_video(folder, *places),
                "question": question,
                "choices": choices,
                "answer": letter(item["answer"]),
                "categories": {
                    "type": row["type"],
                    "question": item["question_type"],
                },
            }


def video_eval_pro(folder):
    for i, row in enumerate(rows(folder, "data/test-*.parquet")):
        yield {
            "id": f"{row['source']}_{i}",
            "video": find_video(folder, f"videos_filtered/{row['video']}"),
            "question": row["question"],
            "options": "\n".join(row["options"]),
            "choices": row["options"],
            "answer": letter(row["answer"]),
            "categories": {"type": row["qa_type"], "source": row["source"]},
        }


def egoschema(folder):
    for row in rows(folder, "Subset/test-*.parquet"):
        yield {
            "id": row["question_idx"],
            "video": find_video(folder, f"videos/{row['video_idx']}.mp4"),
            "question": row["question"],
            "options": "\n".join(row["option"]),
            "choices": row["option"],
            "answer": int(row["answer"]),
        }
