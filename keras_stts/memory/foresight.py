"""What `from_preset`, `fit` and `generate` are about to take, and ways out."""

import os
import weakref

import keras

from keras_stts.memory.asking import of_model
from keras_stts.memory.asking import of_preset
from keras_stts.memory.limits import VARIABLE
from keras_stts.memory.limits import memory_limit
from keras_stts.memory.limits import warn_if_too_much
from keras_stts.models import sizes
from keras_stts.pruning import PruningMethod

HALF = ("bfloat16", "float16")
# Of each model the batches that it was asked to answer, and how many at most.
_seen = weakref.WeakKeyDictionary()
MOST_SEEN = 1000


def before_loading(config, stacklevel=3):
    """Warn if a model would not fit, or could not answer one question.

    Args:
        config: Dict of the arguments of `VideoVLMBackbone`, its dtype and
            perhaps `"buckets"`, pairs (T, P) that batches are padded to.

    Raises:
        ValueError: If the environment variable holds no size.
    """
    memory_limit()

    def ask(**changes):
        return of_preset(
            config, **{"phase": "generate", **spread_over(), **changes}
        )

    try:
        facts = {**sizes.of_config(config), "dtype": config.get("dtype")}
        ways = _ways(facts, config.get("buckets")) | _on_more_devices()
        warn_if_too_much("The model", ask, ways, stacklevel=stacklevel + 1)
    except (KeyError, TypeError, ValueError):
        return  # What is wrong with a config loading says, and where.


def before_fit(model, batch_size, text_length=None, *, stacklevel=4):
    """Warn if training a `VideoVLM` on such batches would not fit."""

    def ask(**changes):
        given = {"batch_size": batch_size, "text_length": text_length}
        return of_model(model, **{**given, **spread_over(), **changes})

    ways = {}
    if not model.backbone.rematerialize:
        ways["rematerialize=True"] = {"rematerialize": True}
    ways["enable_lora(8)"] = {"trainable": "lora"}
    if not model.backbone.rematerialize:
        both = {"rematerialize": True, "trainable": "lora"}
        ways["rematerialize=True with enable_lora(8)"] = both
    _warn_of(
        model, "`fit`", ask, ways, batch_size=batch_size, stacklevel=stacklevel
    )


def before_generate(model, batch_size, text_length=None, *, stacklevel=4):
    """Warn if answering such batches would not fit, once for each size."""
    seen = _seen.setdefault(model, set())
    # Not the limit: what is free on a shared GPU is another at each batch.
    key = (batch_size, text_length, os.environ.get(VARIABLE))
    if key in seen:
        return

    def ask(**changes):
        given = {"batch_size": batch_size, "text_length": text_length}
        given["phase"] = "generate"
        return of_model(model, **{**given, **spread_over(), **changes})

    _warn_of(
        model,
        "`generate`",
        ask,
        {},
        batch_size=batch_size,
        stacklevel=stacklevel,
    )
    if len(seen) >= MOST_SEEN:
        seen.clear()
    seen.add(key)


def _warn_of(model, what, ask, ways, *, batch_size, stacklevel):
    backbone = model.backbone
    names = ("num_frames", "prune_ratio", "pruning")
    config = {name: getattr(backbone, name) for name in names}
    config["dtype"] = backbone.dtype_policy
    buckets = getattr(model.preprocessor, "buckets", None)
    ways = {**ways, **_ways(config, buckets)}
    if batch_size > 1:
        half = batch_size // 2
        ways[f"batch_size={half}"] = {"batch_size": half}
    warn_if_too_much(
        what, ask, ways | _on_more_devices(), stacklevel=stacklevel + 1
    )


def _ways(config, buckets=None):
    """What any phase can do with less."""
    ways = {}
    policy = keras.dtype_policies.get(
        config.get("dtype") or keras.config.dtype_policy()
    )
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        policy = policy.default_policy
    if policy.variable_dtype not in HALF:
        ways["dtype='bfloat16'"] = {"dtype": "bfloat16"}
    frames, ratio = config["num_frames"], config.get("prune_ratio", 0.5) or 0
    frames = min([frames, *(pair[0] for pair in buckets or ())])
    prunes = type(config["pruning"]) is not PruningMethod
    for more in (0.5, 0.8) if prunes else ():
        if ratio < more <= _most(frames):
            ways[f"prune_ratio={more}"] = {"prune_ratio": more}
    if buckets:
        return ways | _smaller(buckets)
    for fewer in (frames // 2, frames // 4):
        if fewer and ratio <= _most(fewer):
            ways[f"num_frames={fewer}"] = {"num_frames": fewer}
    return ways


def _smaller(buckets):
    """Without those that hold the most blocks."""
    most = max(frames * blocks for frames, blocks in buckets)
    kept = [tuple(pair) for pair in buckets if 2 * pair[0] * pair[1] <= most]
    return {f"buckets={kept}": {"buckets": kept}} if kept else {}


def _most(num_frames):
    """The largest share of blocks that so many frames can lose."""
    return 1 - 1 / num_frames if num_frames else -1


def spread_over():
    """Chips and what they share, as Keras' distribution has it."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return {}
    mesh = distribution.device_mesh
    if isinstance(distribution, keras.distribution.DataParallel):
        return {"chips": mesh.devices.size, "distribution": "data"}
    if mesh.shape[0] == mesh.devices.size:
        return {"chips": mesh.shape[0], "distribution": "fsdp"}
    return {"chips": mesh.shape[-1], "distribution": "model"}


def _on_more_devices():
    """Cutting weights over all devices, if there are several and none is."""
    if keras.config.backend() != "jax":
        return {}
    count = keras.distribution.get_device_count()
    if count < 2 or spread_over().get("distribution") in ("fsdp", "model"):
        return {}
    return {"distribution='fsdp'": {"chips": count, "distribution": "fsdp"}}
