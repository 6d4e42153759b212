"""Published benchmarks of short videos: what their files hold.

Each function takes the folder of a benchmark's files and yields its questions,
dicts as `Benchmark` takes them.
"""

from keras_stts.data.subtitles import seconds
from keras_stts.evaluation.files import find
from keras_stts.evaluation.files import find_video
from keras_stts.evaluation.files import read_json
from keras_stts.evaluation.files import rows
from keras_stts.evaluation.options import inline_options
from keras_stts.evaluation.options import letter

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
TEMPCOMPASS = {
    "multi-choice": ("letter mark", "Please directly give the best option:"),
    "yes_no": ("yes or no", "Please answer yes or no:"),
    "caption_matching": ("caption", "Please directly give the best option:"),
}


def nextqa(folder):
    for i, row in enumerate(rows(folder, "MC/test-*.parquet", "test.csv")):
        yield {
            "id": f"{row['video']}_{row.get('qid', i)}",
            "video": find_video(folder, f"NExTVideo/{row['video']}.mp4"),
            "question": row["question"],
            "choices": [row[f"a{i}"] for i in range(5)],
            "answer": int(row["answer"]),
            "categories": {"type": row["type"]},
        }


def perception_test(folder):
    for row in rows(folder, "mc_question_val/*.parquet"):
        yield {
            "id": f"{row['video_name']}_{row['question_id']}",
            "video": find_video(folder, f"videos/{row['video_name']}.mp4"),
            "question": row["question"],
            "choices": row["options"],
            "answer": int(row["answer_id"]),
            "categories": {"area": row["area"], "reasoning": row["reasoning"]},
        }


def mvbench(folder):
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


def tomato(folder):
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


def motion_bench(folder):
    for row in rows(folder, "MotionBench/video_info.meta.jsonl"):
        places = [
            f"MotionBench/{part}/{row['video_path']}"
            for part in ("self-collected", "public-dataset")
        ]
        for item in row["qa"]:
            if item["answer"] == "NA":
                continue  # Of the test set, whose answers are not published.
            _, choices = inline_options(item["question"])
            yield {
                "id": item["uid"],
                "video": find_video(folder, *places),
                "question": item["question"],
                "choices": choices,
                "answer": letter(item["answer"]),
                "categories": {"type": row["question_type"]},
            }


def tempcompass(folder):
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
