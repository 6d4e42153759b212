"""Two questions of each benchmark in the files that it publishes."""

import json

LETTER = "Please respond with only the letter of the correct answer."
DIRECTLY = "Answer with the option's letter from the given choices directly."
SELECT = (
    "Select the best answer to the following multiple-choice question based "
    "on the video{}. Respond with only the letter (A, B, C, or D) of the "
    "correct option."
)
LETTERED = ["A. Red.", "B. Blue.", "C. Green.", "D. Grey."]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def nextqa(folder):
    row = {"video": 42, "question": "why does he run", "qid": 6, "type": "CW"}
    row |= {f"a{i}": f"reason {i}" for i in range(5)} | {"answer": 3}
    other = {**row, "qid": 7, "answer": 0, "type": "TN"}
    write_parquet(folder / "MC/test-00000-of-00001.parquet", [row, other])


def perception_test(folder):
    row = {
        "video_name": "video_1",
        "question": "Is the camera moving?",
        "question_id": "34",
        "options": ["No", "Yes", "I don't know"],
        "answer_id": "1",
        "area": "physics",
        "reasoning": "descriptive",
        "tag": ["motion"],
    }
    path = "mc_question_val/validation-00000-of-00001.parquet"
    other = {**row, "question_id": "35", "answer_id": "2"}
    write_parquet(folder / path, [row, other])


def mvbench(folder):
    row = {
        "video": "ABC.mp4",
        "question": "What happened first?",
        "candidates": ["Sat", "Ate", "Ran", "Slept"],
        "answer": "Ran",
        "start": 2.5,
        "end": 8.0,
    }
    write_json(folder / "json/action_sequence.json", [row])
    row = {
        "video": "s01/clip_0",
        "question": "Who spoke?",
        "candidates": ["Ross", "Joey"],
        "answer": "Ross",
        "start": 0.0,
        "end": 4.0,
    }
    write_json(folder / "json/episodic_reasoning.json", [row])
    (folder / "video/tvqa/frames_fps3_hq/s01/clip_0").mkdir(parents=True)


def tomato(folder):
    row = {
        "question": "Which way does the disc turn?",
        "options": ["Clockwise", "Not at all", "The other way"],
        "answer": 2,
        "key": "0042",
        "demonstration_type": "object",
        "motion_type": "simple",
    }
    write_json(folder / "data/rotation.json", {"0": row})
    write_json(folder / "data/count.json", {"0": {**row, "answer": 0}})


def motionbench(folder):
    lines = "Which hand?\nA. Left\nB. Right\nC. Both\nD. None"
    row = {
        "video_path": "a.mp4",
        "key": "a",
        "question_type": "Motion Recognition",
        "qa": [
            {"uid": "u1", "question": lines, "answer": "B"},
            {"uid": "u2", "question": lines, "answer": "NA"},
            {"uid": "u3", "question": lines, "answer": "D"},
        ],
    }
    write_lines(folder / "MotionBench/video_info.meta.jsonl", [row])
    place = folder / "MotionBench/public-dataset/a.mp4"
    place.parent.mkdir()
    place.write_bytes(b"")


def tempcompass(folder):
    common = {"video_id": "7", "dim": "action"}
    tables = {
        "multi-choice": {
            "question": "What is it doing?\nA. running\nB. sitting",
            "answer": "B. sitting",
        },
        "yes_no": {"question": "Is it running?", "answer": "no"},
        "caption_matching": {
            "question": "Which fits?\nCaption A: It runs.\nCaption B: It sits.",
            "answer": "Caption B: It sits.",
        },
    }
    for task, row in tables.items():
        path = folder / task / "test-00000-of-00001.parquet"
        write_parquet(path, [common | row])


def video_mme(folder):
    row = {
        "video_id": "001",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Biology",
        "videoID": "fFjv93ACGo8",
        "question_id": "001-1",
        "task_type": "Counting Problem",
        "question": "Which colour?",
        "options": LETTERED,
        "answer": "C",
    }
    rows = [row, {**row, "question_id": "001-2", "videoID": "silent"}]
    write_parquet(folder / "videomme/test-00000-of-00001.parquet", rows)
    (folder / "subtitle").mkdir()
    (folder / "subtitle/fFjv93ACGo8.srt").write_text(
        '1\n00:00:01,500 --> 00:00:03,000\n<font color="white">Look\n'
        "here</font>\n\n2\n01:00:00,000 --> 01:00:02,250\nBye\n"
    )


def longvideobench(folder):
    row = {
        "id": "abc_0",
        "video_id": "abc",
        "video_path": "abc.mp4",
        "question": "What is said?",
        "candidates": ["Hello", "Bye"],
        "correct_choice": 1,
        "question_category": "T2E",
        "duration_group": 600,
        "level": "L1-Perception",
        "subtitle_path": "abc_en.json",
        "starting_timestamp_for_subtitles": 10,
        "duration": 20.0,
    }
    other = {**row, "id": "abc_1", "subtitle_path": "abc.json"}
    write_json(folder / "lvb_val.json", [row, other])
    lines = [{"start": "00:00:11.500", "end": "00:00:13.000", "line": "Hi"}]
    write_json(folder / "subtitles/abc_en.json", lines)
    lines = [
        {"timestamp": [12.0, 14.5], "text": "Well"},
        {"timestamp": [28.0, None], "text": "Bye"},
    ]
    write_json(folder / "subtitles/abc.json", lines)


def mlvu(folder):
    row = {
        "video": "needle_1.mp4",
        "duration": 450.0,
        "question": "What colour?",
        "candidates": ["Red", "Blue", "Green", "Grey"],
        "answer": "Blue",
    }
    write_json(folder / "json/2_needle.json", [row, row])
    (folder / "video/2_needle").mkdir(parents=True)
    (folder / "video/2_needle/needle_1.mp4").write_bytes(b"")


def lvbench(folder):
    lines = "Who wins?\n(A) The red team\n(B) The blue team\n(C) Both\n(D) None"
    item = {
        "uid": "4",
        "question": lines,
        "answer": "B",
        "question_type": ["key information retrieval", "reasoning"],
        "time_reference": "00:15-00:19",
    }
    row = {"key": "Cm73ma6Ibcs", "type": "sport", "qa": [item]}
    row["qa"].append({**item, "uid": "5", "answer": "D"})
    write_lines(folder / "video_info.meta.jsonl", [row])


def video_eval_pro(folder):
    row = {
        "video": "a.mp4",
        "question": "Which colour?",
        "options": LETTERED,
        "answer": "D",
        "answer_text": "Grey.",
        "source": "LVBench",
        "qa_type": "Local Perception",
        "qa_subtype": "Attribute",
    }
    path = folder / "data/test-00000-of-00001.parquet"
    write_parquet(path, [row, {**row, "answer": "A"}])


def egoschema(folder):
    row = {
        "question_idx": "10",
        "question": "What does C do?",
        "video_idx": "0074f737",
        "option": [f"{x}. C does {i}" for i, x in enumerate("ABCDE")],
        "answer": "4",
    }
    path = folder / "Subset/test-00000-of-00001.parquet"
    write_parquet(path, [row, {**row, "question_idx": "11", "answer": "0"}])


def video_mme_v2(folder):
    """Columns as the authors' script names them; the options of its README."""
    people = ("Malaysian", "British", "Singaporean", "German", "Canadian")
    people += ("Chinese", "American", "Cannot be determined")
    lines = [f"{x}. {who}." for x, who in zip("ABCDEFGH", people)]
    row = {
        "video_id": "001",
        "url": "https://www.youtube.com/watch?v=abc",
        "group_type": "logic",
        "group_structure": "[1, [2, 3], 4]",
        "question": "What is the ethnicity of the protagonist's mother?",
        "options": "\n".join(lines),
        "level": "1",
        "second_head": "Frames & Audio",
        "third_head": "Recognition",
    }
    rows = [
        row | {"question_id": f"001-{i + 1}", "answer": answer}
        for i, answer in enumerate("HFAB")
    ]
    write_parquet(folder / "test.parquet", rows)
    said = zip(("Hello", "world"), (0.5, 0.8), (0.8, 1.1))
    keys = ("text", "start_time", "end_time")
    write_lines(
        folder / "subtitle/001.jsonl", [dict(zip(keys, word)) for word in said]
    )


def minerva(folder):
    """Fields as the README lists them."""
    row = {
        "key": "abc_0",
        "video_id": "L9tAbQS6Mxk",
        "question": "How many shots are made? ",
        "answer": "Three",
        "answer_id": 3,
        "reasoning": "At 01:10 the first one ...",
        "question type": "Counting, Temporal Reasoning",
        "split": "Sports",
        "category": "Basketball",
    }
    row |= {
        f"answer_choice_{i}": name
        for i, name in enumerate(("Zero", "One ", "Two", "Three", "Four"))
    }
    other = {**row, "key": "abc_1", "answer_id": 0}
    other["question_type"] = other.pop("question type")  # lmms-eval's copy.
    write_json(folder / "minerva.json", [row, other])


def tvbench(folder):
    """Two rows of the published files."""
    row = {
        "video": "EK5K1.mp4",
        "question": "At what moment in the video does the action 'the person "
        "takes a lollipop from a box' occur?",
        "candidates": [
            "At the end of the video.",
            "In the middle of the video.",
            "At the beginning of the video.",
            "Throughout the entire video.",
        ],
        "answer": "Throughout the entire video.",
        "start": 19.5,
        "end": 36.4,
        "accurate_start": 19.5,
        "accurate_end": 36.4,
    }
    write_json(folder / "json/action_localization.json", [row])
    row = {
        "video": "video_12582.mp4",
        "question": "Which direction does the brown cube move in the video?",
        "answer": "Down and to the left.",
        "candidates": [
            "Down and to the left.",
            "Up and to the right.",
            "Down and to the right.",
            "Up and to the left.",
        ],
    }
    write_json(folder / "json/moving_direction.json", [row])


def vsi_bench(folder):
    """Two rows of the published file; the second one's answer is made up."""
    row = {
        "id": 0,
        "dataset": "arkitscenes",
        "scene_name": "41069025",
        "question_type": "object_counting",
        "question": "How many table(s) are in this room?",
        "ground_truth": "4",
        "options": None,
        "pruned": False,
    }
    other = {
        "id": 957,
        "dataset": "arkitscenes",
        "scene_name": "41069025",
        "question_type": "object_rel_direction_hard",
        "question": "If I am standing by the stove and facing the sofa, is the "
        "tv to my front-left, front-right, back-left, or back-right?\nThe "
        "directions refer to the quadrants of a Cartesian plane (if I am "
        "standing at the origin and facing along the positive y-axis).",
        "ground_truth": "C",
        "options": [
            "A. front-left",
            "B. back-right",
            "C. back-left",
            "D. front-right",
        ],
        "pruned": False,
    }
    write_lines(folder / "test.jsonl", [row, other])


V2 = (
    "{}\nQuestion: What is the ethnicity of the protagonist's mother?\n"
    "A. Malaysian.\nB. British.\nC. Singaporean.\nD. German.\nE. Canadian.\n"
    "F. Chinese.\nG. American.\nH. Cannot be determined.\nSelect the best "
    "answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, D, E, F, G, or H) of the correct "
    "option."
)
PROMPTS = {
    "video_mme_v2": V2.format("These are the frames of a video."),
    "video_mme_v2_subtitles": V2.format(
        "These are the frames of a video. This video's subtitles are listed "
        "below:\nHello world"
    ),
    "minerva": "How many shots are made?\nA. Zero\nB. One\nC. Two\nD. Three\n"
    f"E. Four\n{DIRECTLY}",
    "tvbench": "Carefully watch the video and pay attention to the cause and "
    "sequence of events, the detail and movement of objects, and the action "
    "and pose of persons. Based on your observations, select the best option "
    "that accurately addresses the question.\nQuestion: At what moment in the "
    "video does the action 'the person takes a lollipop from a box' occur?\n"
    "Options:\n(A) At the end of the video.\n(B) In the middle of the video.\n"
    "(C) At the beginning of the video.\n(D) Throughout the entire video.\n"
    "Only give the best option.",
    "vsi_bench": "These are frames of a video.\nHow many table(s) are in this "
    "room?\nPlease answer the question using a single word or phrase.",
    "nextqa": "why does he run\nA. reason 0\nB. reason 1\nC. reason 2\n"
    f"D. reason 3\nE. reason 4\n{DIRECTLY}",
    "perception_test": "Is the camera moving?\nA. No\nB. Yes\n"
    f"C. I don't know\n{DIRECTLY}",
    "mvbench": "What happened first?\nA. Sat\nB. Ate\nC. Ran\nD. Slept\n"
    + LETTER,
    "tomato": "Which way does the disc turn?\nOnly return the correct answer "
    "option.\nA. Clockwise\nB. Not at all\nC. The other way",
    "motionbench": "Which hand?\nA. Left\nB. Right\nC. Both\nD. None",
    "tempcompass": "What is it doing?\nA. running\nB. sitting\nPlease "
    "directly give the best option:",
    "video_mme": SELECT.format("") + "\nWhich colour?\nA. Red.\nB. Blue.\n"
    "C. Green.\nD. Grey.\nThe best answer is:",
    "video_mme_subtitles": SELECT.format(" and the subtitles")
    + "\nWhich colour?\nA. Red.\nB. Blue.\nC. Green.\nD. Grey.\nThe best "
    "answer is:",
    "longvideobench": f"What is said?\nA. Hello\nB. Bye\n{DIRECTLY}",
    "longvideobench_subtitles": f"What is said?\nA. Hello\nB. Bye\n{DIRECTLY}",
    "mlvu": f"What colour?\nA. Red\nB. Blue\nC. Green\nD. Grey\n{DIRECTLY}",
    "lvbench": "Who wins?\nA. The red team\nB. The blue team\nC. Both\n"
    f"D. None\n{LETTER}",
    "video_eval_pro": "Which colour?\nA. Red.\nB. Blue.\nC. Green.\nD. Grey.\n"
    + LETTER,
    "egoschema": "What does C do?\nA. C does 0\nB. C does 1\nC. C does 2\n"
    f"D. C does 3\nE. C does 4\n{DIRECTLY}",
}
# Of the first question: its video, and of all: the right choices.
FACTS = {
    "video_mme_v2": ("videos/001.mp4", [7, 5, 0, 1]),
    "video_mme_v2_subtitles": ("videos/001.mp4", [7, 5, 0, 1]),
    "minerva": ("videos/L9tAbQS6Mxk.mp4", [3, 0]),
    "tvbench": ("video/action_localization/EK5K1.mp4", [3, 0]),
    "vsi_bench": ("arkitscenes/41069025.mp4", ["4", 2]),
    "nextqa": ("NExTVideo/42.mp4", [3, 0]),
    "perception_test": ("videos/video_1.mp4", [1, 2]),
    "mvbench": ("video/star/Charades_v1_480/ABC.mp4", [2, 0]),
    "tomato": ("videos/object/0042.mp4", [0, 2]),
    "motionbench": ("MotionBench/public-dataset/a.mp4", [1, 3]),
    "tempcompass": ("videos/7.mp4", [1, 1, 1]),
    "video_mme": ("data/fFjv93ACGo8.mp4", [2, 2]),
    "video_mme_subtitles": ("data/fFjv93ACGo8.mp4", [2, 2]),
    "longvideobench": ("videos/abc.mp4", [1, 1]),
    "longvideobench_subtitles": ("videos/abc.mp4", [1, 1]),
    "mlvu": ("video/2_needle/needle_1.mp4", [1, 1]),
    "lvbench": ("video/Cm73ma6Ibcs.mp4", [1, 3]),
    "video_eval_pro": ("videos_filtered/a.mp4", [3, 0]),
    "egoschema": ("videos/0074f737.mp4", [4, 0]),
}


def write(name, folder):
    globals()[name.removesuffix("_subtitles")](folder)
