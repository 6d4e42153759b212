# %% [markdown]
# # First look: ask a video, with all tokens and with half of them
#
# A video language model reads hundreds of tokens a frame, most of which it does
# not need. `keras_stts` drops them inside the vision transformer. This notebook
# asks a small model that comes with the package, shows which blocks of the
# frames it kept, and what that saves.
#
# Run here: two CPU cores, JAX, two minutes. On Kaggle choose any accelerator,
# or none.

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
import glob

import keras
from IPython.display import Video

import keras_stts

print("backend:", keras.backend.backend())
print("computes on:", keras.ops.zeros(1).device)

# %% [markdown]
# ## A video
#
# Your own, attached as a data set called `my-videos`, or a rendered clip: in
# front of noise a shape moves, others flash.

# %%
videos = sorted(glob.glob("/kaggle/input/my-videos/*.mp4"))
questions = ["what happens first?"] * 4
if not videos:
    rows = keras_stts.datasets.shapes.generate("clips", "test", 1)
    videos = [rows[0]["video"]]
    questions = [row["question"] for row in rows[: 2 if SMALL else 8]]
Video(videos[0], embed=True, width=300)

# %% [markdown]
# ## Ask it
#
# `prune_ratio` is chosen when a model is loaded, and never changes its weights.
# The first call compiles. `encode` reads and encodes the video once for all
# questions.

# %%
models = {}
for ratio in (0.0, 0.5):
    model = keras_stts.VideoVLM.from_preset("shapes_tiny", prune_ratio=ratio)
    model.compile(sampler="greedy")
    models[f"{ratio:.0%} pruned"] = model

answers = {}
for name, model in models.items():
    video = model.encode(videos[0])
    inputs = {"videos": [video] * len(questions), "prompts": questions}
    answers[name] = model.generate(inputs)

for question, *given in zip(questions, *answers.values()):
    print(f"{question:54} {given[0]:10} half pruned: {given[1]}")

# %% [markdown]
# ## What was kept
#
# Frame 0 always stays whole: what does not change later was seen there. The
# scores are those of the trained scorer.

# %%
pruned = models["50% pruned"]
kept = pruned.kept_blocks(videos[0])
keras_stts.visualize.plot_kept(
    kept["frames"],
    kept["kept"],
    kept["scores"],
    timestamps=kept["timestamps"],
    grid=kept["grid"],
)

# %% [markdown]
# The same as a video: on the left the file, on the right what the model saw.

# %%
keras_stts.visualize.write_side_by_side("seen.mp4", videos[0], kept)
Video("seen.mp4", embed=True, width=600)

# %% [markdown]
# ## What it saves
#
# Operations are counted, times measured in turns. This model is tiny, so fixed
# costs weigh on it: Molmo2-4B's sizes train 1.8 times as fast on an H200.

# %%
for name, model in models.items():
    count, tokens = model.flops()["total"], model.backbone.num_kept_blocks
    print(
        f"{name}: {tokens} vision tokens, {count / 1e6:.0f} million operations"
    )

inputs = {"videos": videos[:1] * 8, "prompts": (questions * 8)[:8]}
times = keras_stts.benchmark(models, inputs, phases=("prefill",))
for name, row in times.items():
    print(f"{name}: {1000 * row['prefill']['median']:.0f} ms a prefill of 8")

# %% [markdown]
# ## A model of your own
#
# Molmo2 and Qwen3-VL load in the same way: `from_preset("molmo2_4b", ...)`,
# `"qwen3_vl_2b"`, or a directory. `memory_of` says beforehand whether it fits.
# Their checkpoints hold no scorer: prune with `pruning="frame_similarity"`, or
# train one (`train_a_scorer.ipynb`).
