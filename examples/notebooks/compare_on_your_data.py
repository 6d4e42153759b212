# %% [markdown]
# # Compare pruning methods on your own model and data
#
# Which method, and how much of it? That depends on your questions: which frames
# matter, and whether places do. So ask your own questions with several methods
# and ratios, with the same weights, and look at answers, times and pictures.
#
# Run here: two CPU cores, JAX, ten minutes, with the small model that
# comes with the package. On Kaggle choose any accelerator, or none.

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
import pathlib

import keras

import keras_stts

print("backend:", keras.backend.backend())
print("computes on:", keras.ops.zeros(1).device)

# %% [markdown]
# ## Your model, your questions
#
# Attach a checkpoint as `my-model` (Molmo2's, Qwen3-VL's or a preset) and a
# data set `my-questions` with `questions.csv`: columns `video`, `prompt`,
# `response` and, if they are multiple choice, `choices`. A benchmark's name and
# folder will do, too: `evaluate(model, "tempcompass", "/kaggle/input/...")`.

# %%
PRESET, QUESTIONS = "shapes_tiny", "shapes"
FOLDER = pathlib.Path("clips")
if os.path.exists("/kaggle/input/my-model"):
    PRESET = "/kaggle/input/my-model"
if os.path.exists("/kaggle/input/my-questions"):
    FOLDER = pathlib.Path("/kaggle/input/my-questions")
    QUESTIONS = FOLDER / "questions.csv"
else:
    keras_stts.datasets.shapes.generate(FOLDER, "test", 2 if SMALL else 50)

# %% [markdown]
# ## Methods and ratios
#
# `"stts"` needs a trained scorer, which this model has; the others take the
# weights as they are. FastV prunes inside the language model, from a layer on:
# this model has only three.

# %%
METHODS = {
    "STTS": "stts",
    "frame similarity": "frame_similarity",
    "EVS": "evs",
    "VidCom2": "vidcom2",
    "ToMe": "tome",
    "FastV": keras_stts.pruning.FastV,
    "random": "random",
}
RATIOS = (0.3, 0.5, 0.8)
if SMALL:
    RATIOS = (0.5,)
    METHODS = {name: METHODS[name] for name in ("STTS", "FastV", "random")}


def load(name, ratio):
    settings = {"pruning": METHODS[name], "prune_ratio": ratio}
    if name == "FastV":
        settings = {"pruning": METHODS[name](ratio=ratio, layer=1)}
    model = keras_stts.VideoVLM.from_preset(PRESET, **settings)
    model.compile(sampler="greedy")
    return model


# %% [markdown]
# ## Ask
#
# Predictions are on the disk batch by batch: run this again after it was
# interrupted, and it goes on where it was.

# %%
OUTPUT = pathlib.Path("results")


def ask(name, model):
    result = keras_stts.evaluate(
        model,
        QUESTIONS,
        FOLDER,
        batch_size=16,
        output=OUTPUT / name.replace(" ", "_"),
        progress=False,
    )
    print(f"{name:25} {result['accuracy']:.1%}")
    return {**result, "label": name}


results = [ask("whole", load("STTS", 0.0))]
for method in METHODS:
    for ratio in RATIOS:
        results.append(ask(f"{method} {ratio:.0%}", load(method, ratio)))

# %% [markdown]
# At one ratio, with 95% intervals, which take into account that questions share
# videos.

# %%
names = ["whole", *(f"{method} 50%" for method in METHODS)]
at_half = [each for each in results if each["label"] in names]
for some in (at_half[:4], at_half[4:]):
    print(keras_stts.evaluation.table(some), "\n")

# %% [markdown]
# Accuracy against the operations of a prefill. A line for each method: the
# label without its ratio.

# %%
lines = [
    {**result, "label": result["label"].rsplit(" ", 1)[0]} for result in results
]
keras_stts.evaluation.plots.plot_accuracy(
    lines, "flops", "Answers and what they cost"
)

# %% [markdown]
# ## Look
#
# What each method keeps of one video, half pruned. A method that keeps other
# blocks than you would is one to ask about.

# %%
video = sorted(FOLDER.rglob("*.mp4"))[0]
kept = {
    name: load(name, 0.5).kept_blocks(video)
    for name in METHODS
    if name not in ("FastV", "ToMe")  # The one sees the question, one merges.
}
first = next(iter(kept.values()))
keras_stts.visualize.plot_comparison(
    first["frames"],
    {name: each["kept"] for name, each in kept.items()},
    timestamps=first["timestamps"],
    grid=first["grid"],
)

# %% [markdown]
# ## So
#
# Train the method that you choose at the ratio that you choose, and ask again:
# after 200 steps the order is another one (`examples/COMPARISON.md`).
