# %% [markdown]
# # Eight TPU chips
#
# One argument spreads a model over all devices that JAX sees: training, answers
# and files are those of one device. On Kaggle choose the accelerator TPU v5e-8.
#
# Run here: JAX on eight fake devices of two CPU cores, about four minutes,
# so times say nothing. Not run on TPU chips; what their compiler plans for
# Molmo2-4B is in `docs/accelerators.md`.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # The only one that does this.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SMALL = "SMALL" in os.environ  # Less of everything, to see that it runs.

# On Kaggle: the package's wheel, attached as a data set called keras-stts.
# Elsewhere it is installed from a clone, see docs/start.md.
if os.path.exists("/kaggle/input/keras-stts"):
    os.system("pip install -q /kaggle/input/keras-stts/*.whl")

# Without a TPU: eight fake devices. Before JAX is imported.
if not os.path.exists("/dev/accel0") and not os.path.exists("/dev/vfio"):
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

# %%
import jax
import keras

import keras_stts

print(len(jax.devices()), "devices:", jax.devices()[0].device_kind)

# %% [markdown]
# ## Does it fit
#
# Counted from sizes before anything is loaded: the memory of each of eight
# chips that train all weights, a video a chip, half pruned. A v5e has 15.75
# GiB. Name your own checkpoint here (`"qwen3_vl_2b"`, `"hf://..."`, a
# directory) instead of the small one.

# %%
PRESET = "shapes_tiny"
print(
    keras_stts.VideoVLM.memory_of(
        PRESET,
        batch_size=8,
        prune_ratio=0.5,
        chips=8,
        distribution="fsdp",
        rematerialize=True,
    )
)

# %% [markdown]
# ## Load it into its shards
#
# `"fsdp"` splits weights and optimizer over the devices, and gathers a layer
# while it is used; `"data"` has all weights on each device; `"auto"` chooses.

# %%
model = keras_stts.VideoVLM.from_preset(
    PRESET, prune_ratio=0.5, distribution="fsdp"
)
model.compile(sampler="greedy")
kernel = model.backbone.transformer_layers[0].trainable_variables[1]
print(kernel.path, kernel.shape)
print(kernel.value.sharding.spec, "of", kernel.value.sharding.mesh.shape)

# %% [markdown]
# ## Train
#
# Batches are split over the devices. A last batch that they do not divide is
# filled up with rows of weight 0.

# %%
rows = keras_stts.datasets.shapes.generate("clips", "train", 2 if SMALL else 16)
data = {
    "videos": [row["video"] for row in rows],
    "prompts": [row["question"] for row in rows],
    "responses": [row["answer"] + "!" for row in rows],
}
history = model.fit(data, batch_size=16, epochs=1 if SMALL else 6, verbose=2)

# %% [markdown]
# ## Ask
#
# Three videos on eight devices: filled up, too.

# %%
print(model.generate({name: data[name][:3] for name in ("videos", "prompts")}))

# %% [markdown]
# ## Save
#
# Files do not know how many devices wrote them.

# %%
model.save_to_preset("taught")
keras.distribution.set_distribution(None)
alone = keras_stts.VideoVLM.from_preset("taught")
alone.compile(sampler="greedy")
print(alone.generate({name: data[name][:3] for name in ("videos", "prompts")}))

# %% [markdown]
# ## More
#
# Heads and MLP units over chips, several hosts, and what was tried:
# `docs/distribution.md`.
