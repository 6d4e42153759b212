# %% [markdown]
# # Teach a video model your own question
#
# A folder of clips, a table of questions and answers, some of it damaged: check
# it, train on it with `model.fit`, ask. `shapes_tiny`, which comes with the
# package, knows five kinds of questions. The lesson is a sixth.
#
# Run here: two CPU cores, JAX, about three minutes. On Kaggle choose any
# accelerator, or none.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # Or "torch", "tensorflow".
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SMALL = "SMALL" in os.environ  # Less of everything, to see that it runs.

# On Kaggle: the package's wheel, attached as a data set called keras-stts.
# Elsewhere it is installed from a clone, see docs/start.md.
if os.path.exists("/kaggle/input/keras-stts"):
    os.system("pip install -q /kaggle/input/keras-stts/*.whl")

# %%
import json
import pathlib

import keras

import keras_stts
from keras_stts.datasets import shapes

print("backend:", keras.backend.backend())
print("computes on:", keras.ops.zeros(1).device)

# %% [markdown]
# ## A folder and two tables
#
# Attach yours as a data set called `my-clips`: `train.csv` and `validation.csv`
# with the columns `video` (a path in the folder), `prompt` and `response`.
# JSONL, Parquet and TFRecord are read as well.
#
# Without one, clips are rendered: in each a shape moves and others flash. The
# new question is where it goes on a map, with answers that the model never
# gave. Two of the videos are damaged, as some of any thousand are.

# %%
INPUT = pathlib.Path("/kaggle/input/my-clips")
WORK = pathlib.Path("lesson")  # What may be written to.
ENDING = "csv"


ON_A_MAP = {"up": "north", "down": "south", "left": "west", "right": "east"}


def render(folder, split, count):
    """Clips, and a table that asks a new question about each."""
    rows = shapes.generate(folder, split, count)
    with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            # which way does the green object move?
            if row["kind"] == "direction":
                line = {
                    "video": os.path.relpath(row["video"], folder),
                    "prompt": f"{row['question'][:-1]} on a map?",
                    "response": ON_A_MAP[row["answer"]],
                }
                print(json.dumps(line), file=file)


if not INPUT.exists():
    INPUT, ENDING = WORK / "clips", "jsonl"
    render(INPUT, "train", 8 if SMALL else 160)
    render(INPUT, "validation", 4 if SMALL else 64)
    cut, empty = sorted((INPUT / "train").glob("*.mp4"))[:2]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    empty.write_bytes(b"")

# %% [markdown]
# ## Check it
#
# Statistics, a schema and a report are written; anomalies are what does not fit
# them, videos that cannot be read, and videos that are in both tables.

# %%
try:
    result = keras_stts.data.validate(
        INPUT / f"train.{ENDING}",
        against=INPUT / f"validation.{ENDING}",
        output=WORK / "report",
    )
    for anomaly in result.anomalies:
        print(anomaly.kind, anomaly.description)
except RuntimeError as error:
    print(error)  # Says how to install TensorFlow Data Validation.

# %% [markdown]
# ## Before
#
# Half of the vision tokens are pruned, in training and afterwards. The model
# sees well enough, so the language model alone is trained; for large models
# `model.enable_lora(16)` takes less memory.

# %%
model = keras_stts.VideoVLM.from_preset(
    "shapes_tiny", prune_ratio=0.5, trainable_parts=["language_model"]
)
optimizer = keras_stts.optimizers.PartwiseAdamW(1e-3)
model.compile(optimizer=optimizer, sampler="greedy")
validation = keras_stts.data.read_manifest(INPUT / f"validation.{ENDING}")


def ask(rows):
    """The model's answers, and how many of them are right."""
    inputs = {
        "videos": [row["video"] for row in rows],
        "prompts": [row["prompt"] for row in rows],
    }
    answers = model.generate(inputs, batch_size=16)
    right = sum(a == row["response"] for a, row in zip(answers, rows))
    print(f"{right} of {len(rows)} right, for example:")
    for row, answer in list(zip(rows, answers))[:4]:
        print(f"  {row['prompt']} {answer:14} (wanted: {row['response']})")


ask(validation)

# %% [markdown]
# ## Train
#
# Videos are decoded in processes of their own, frames are kept on disk for the
# epochs after the first, rows that cannot be used are written to a report, and
# batches keep their shape. `input_wait` is the share of the time that training
# waited for data. Interrupt this and run it again: it goes on where it was.

# %%
data = keras_stts.data.video_dataset_from_manifest(
    INPUT / f"train.{ENDING}",
    model.preprocessor,
    batch_size=4 if SMALL else 8,
    cache=WORK / "frames",
    on_error="report",
    report=WORK / "left_out.jsonl",
)
backup = keras_stts.callbacks.Backup(WORK / "backup", every=10)
with data:
    model.fit(data, epochs=1 if SMALL else 10, callbacks=[backup], verbose=2)

# %%
for line in open(WORK / "left_out.jsonl", encoding="utf-8").readlines():
    row = json.loads(line)
    print({name: str(value)[:70] for name, value in row.items()})

# %% [markdown]
# ## After

# %%
ask(validation)

# %% [markdown]
# Keep it: a preset is what `from_preset` loads, on any backend.

# %%
model.save_to_preset(WORK / "taught")
