# %% [markdown]
# # From a folder of clips to a model that answers
#
# A folder of videos and a table of questions and answers, some of it damaged:
# check it, train on it, ask. The clips are rendered here; put your own folder
# and tables in their place. `train_on_folder.ipynb` is the same as a notebook.
# About four minutes on two cores.

# %%
import json
import pathlib
import sys

import keras_stts
from keras_stts.datasets import shapes

SMALL = "--small" in sys.argv
FOLDER = pathlib.Path("clips_to_train_on").resolve()

# %% [markdown]
# ## A folder and two tables
#
# `train.jsonl` and `val.jsonl` have a row a question: a video, a prompt and a
# response. CSV, Parquet and TFRecord are read as well. Two videos are damaged,
# as some of any thousand are. The lesson is to answer with an exclamation mark.

# %%
for split, count in (("train", 8 if SMALL else 48), ("validation", 4)):
    rows = shapes.generate(FOLDER, split, count)
    with open(FOLDER / f"{split}.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            line = {
                "video": str(pathlib.Path(row["video"]).relative_to(FOLDER)),
                "prompt": row["question"],
                "response": row["answer"] + "!",
            }
            print(json.dumps(line), file=file)

cut, empty = sorted((FOLDER / "train").glob("*.mp4"))[:2]
cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
empty.write_bytes(b"")

# %% [markdown]
# ## Check it
#
# Statistics, a schema and a report are written into a folder; anomalies are
# what does not fit them, videos that cannot be read, and videos that are in
# both tables. `python -m keras_stts.data validate` does the same from a shell.

# %%
try:
    result = keras_stts.data.validate(
        FOLDER / "train.jsonl",
        against=FOLDER / "validation.jsonl",
        output=FOLDER / "validation_report",
    )
    for anomaly in result.anomalies:
        print(anomaly.kind, anomaly.description)
except RuntimeError as error:
    print(error)  # Says how to install TensorFlow Data Validation.

# %% [markdown]
# ## Train on it
#
# Videos are decoded in processes of their own, frames are kept on disk for the
# epochs after the first, rows that cannot be used are written to a report.
# `input_wait` is the share of the time that training waited for data. Interrupt
# this and run it again: it goes on where it was.

# %%
model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=0.5)
optimizer = keras_stts.optimizers.PartwiseAdamW(
    2e-3, {"scorer": 0.05, "vision_encoder": 0.05}
)
model.compile(optimizer=optimizer, sampler="greedy")
data = keras_stts.data.video_dataset_from_manifest(
    FOLDER / "train.jsonl",
    model.preprocessor,
    batch_size=16,
    cache=FOLDER / "frames",
    on_error="report",
    report=FOLDER / "left_out.jsonl",
)
with data:
    model.fit(
        data,
        epochs=1 if SMALL else 6,
        callbacks=[keras_stts.callbacks.Backup(FOLDER / "backup", every=10)],
    )
for line in open(FOLDER / "left_out.jsonl", encoding="utf-8").readlines()[:2]:
    print(line)

# %% [markdown]
# ## Ask

# %%
rows = keras_stts.data.read_manifest(FOLDER / "validation.jsonl")
answers = model.generate(
    {
        "videos": [row["video"] for row in rows],
        "prompts": [row["prompt"] for row in rows],
    }
)
for row, answer in zip(rows[:8], answers):
    print(f"{row['prompt']:45} {answer:15} (wanted: {row['response']})")
right = sum(a == row["response"] for a, row in zip(answers, rows))
print(f"{right} of {len(rows)} right")
