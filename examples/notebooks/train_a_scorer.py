# %% [markdown]
# # Train STTS' scorer for Qwen3-VL-2B on one GPU of 16 GB, or a TPU chip
#
# Published checkpoints hold no scorer. This notebook loads one in Qwen3-VL's
# format, trains the scorer alone (everything else is frozen), and shows what it
# keeps and what answers become, beside methods that need no training.
#
# Run here: two CPU cores, JAX, four minutes, with a checkpoint of 1.1
# million parameters in this format. Not run on a GPU or a TPU, nor with
# published weights.

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
import keras

import keras_stts
from keras_stts.datasets import shapes

print("backend:", keras.backend.backend())
print("computes on:", keras.ops.zeros(1).device)

# %% [markdown]
# ## The checkpoint
#
# Attach Qwen3-VL-2B-Instruct as `qwen3-vl-2b` (or write
# `"hf://Qwen/Qwen3-VL-2B-Instruct"`). Without it, the small model that comes
# with the package is written in the same format, without its scorer.
#
# Frames are padded to buckets, (pairs of frames, blocks of a pair), each of
# which is compiled once. A block is 32x32 pixels: (32, 256) are 64 frames of
# 512x512.

# %%
CHECKPOINT, SETTINGS = (
    "/kaggle/input/qwen3-vl-2b",
    {
        "buckets": [(32, 256)],
        "dtype": "bfloat16",
        "rematerialize": True,
    },
)
if not os.path.exists(CHECKPOINT):
    CHECKPOINT, SETTINGS = "checkpoint", {"buckets": [(4, 16)]}
    model = keras_stts.VideoVLM.from_preset("shapes_tiny_qwen3vl", pruning=None)
    model.export_to_transformers(CHECKPOINT)
print(sorted(os.listdir(CHECKPOINT)))
STTS = {"pruning": "stts", "prune_ratio": 0.5}

# %% [markdown]
# ## Does it fit
#
# Counted from sizes, before anything is loaded. Of Qwen3-VL-2B with 64 frames,
# half pruned, 8.4 GB where the connector is trained, too (`docs/recipes.md`).

# %%
print(
    keras_stts.VideoVLM.memory_of(
        CHECKPOINT, trainable=["scorer"], **STTS, **SETTINGS
    )
)

# %% [markdown]
# ## Videos
#
# Yours, as in `teach_a_question.ipynb`; here rendered clips. The auxiliary
# loss learns from neighbouring frames which blocks are new, and that of the
# answers reaches the scorer through the attention bias: both matter.

# %%
rows = shapes.generate("clips", "train", 4 if SMALL else 100)
test = shapes.generate("clips", "test", 2 if SMALL else 40)


def columns(rows, *more):
    names = {"videos": "video", "prompts": "question", "responses": "answer"}
    return {
        name: [row[names[name]] for row in rows]
        for name in ("videos", "prompts", *more)
    }


def accuracy(model):
    """Percent of right answers to the test questions."""
    answers = model.generate(columns(test), batch_size=16)
    wanted = columns(test, "responses")["responses"]
    right = sum(answer == each for answer, each in zip(answers, wanted))
    return 100 * right / len(test)


def load(**settings):
    model = keras_stts.VideoVLM.from_preset(CHECKPOINT, **SETTINGS, **settings)
    model.compile(
        sampler="greedy",
        optimizer=keras_stts.optimizers.PartwiseAdamW(1e-4),
    )
    return model


# %% [markdown]
# ## Before
#
# `from_preset` warns that the scorer starts untrained.

# %%
right = {
    "all tokens": accuracy(load(pruning=None)),
    "random, half": accuracy(load(pruning="random", prune_ratio=0.5)),
    "frame similarity, half": accuracy(
        load(pruning="frame_similarity", prune_ratio=0.5)
    ),
}
model = load(trainable_parts=["scorer"], **STTS)
right["untrained scorer, half"] = accuracy(model)
video = test[0]["video"]
before = model.kept_blocks(video)

# %% [markdown]
# ## Train the scorer

# %%
epochs = 1 if SMALL else 3
history = model.fit(
    columns(rows, "responses"), batch_size=16, epochs=epochs, verbose=2
).history
right["trained scorer, half"] = accuracy(model)

# %% [markdown]
# `aux_loss` falls to a small part of what it was: it is how far scores are from
# changes between frames. If it stands still after the first steps, the scorer
# has died, as at a rate of 2e-3 here: all scores are alike.

# %%
print("aux_loss:", [f"{each:.4f}" for each in history["aux_loss"]])
for name, percent in right.items():
    print(f"{name:24} {percent:5.1f}% right")

# %% [markdown]
# ## What it keeps
#
# Scores of the same video, before and after.

# %%
after = model.kept_blocks(video)
keras_stts.visualize.plot_comparison(
    after["frames"],
    {"untrained": before["kept"], "trained": after["kept"]},
    after["scores"],
    timestamps=after["timestamps"],
    grid=after["grid"],
)

# %% [markdown]
# ## Keep it
#
# A preset with its scorer, which `from_preset` loads on any backend, with any
# ratio and number of frames; or a checkpoint in transformers' format, which
# holds the scorer beside what transformers reads.

# %%
model.save_to_preset("qwen3_vl_with_scorer")
model.export_to_transformers("exported")
again = keras_stts.VideoVLM.from_preset("exported", prune_ratio=0.5, **SETTINGS)
again.compile(sampler="greedy")
print(accuracy(again) == right["trained scorer, half"])
