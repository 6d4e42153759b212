"""What `VideoVLM.memory` is asked must make sense."""

import math

from keras_stts.memory.weights import QUANTIZATIONS
from keras_stts.models.backbone_bounds import is_int

# What an argument must be one of.
WORDS = {
    "phase": ("fit", "evaluate", "prefill", "decode", "generate"),
    "distribution": ("data", "model", "fsdp"),
    "device": ("gpu", "tpu"),
    "quantization": (None, *QUANTIZATIONS),
}
# The least that an argument may be.
LEAST = {
    "batch_size": 1,
    "text_length": 1,
    "chips": 1,
    "lora_rank": 1,
    "optimizer_slots": 0,
}


def check_config(config, needed):
    """Raise unless a config names what a `VideoVLMBackbone` takes."""
    missing = [name for name in needed if name not in config]
    if missing:
        raise ValueError(
            "A config holds the arguments of `VideoVLMBackbone`, those "
            "without a default at least. Received: a config without "
            f"{', '.join(missing)}."
        )


def check_changes(num_frames, prune_ratio, rematerialize):
    """Raise unless these are None or what a model could have."""
    if num_frames is not None and not is_int(num_frames, 0, math.inf):
        raise ValueError(
            "`num_frames` must be an int, 0 at least. Received: "
            f"num_frames={num_frames!r}."
        )
    if prune_ratio is not None and not 0 <= prune_ratio < 1:
        raise ValueError(
            "`prune_ratio` must be in [0, 1). Received: "
            f"prune_ratio={prune_ratio!r}."
        )
    if rematerialize not in (None, True, False):
        raise ValueError(
            "`rematerialize` must be True or False. Received: "
            f"rematerialize={rematerialize!r}."
        )


def check_arguments(**given):
    """Raise unless the arguments are what `VideoVLM.memory` takes."""
    for name, known in WORDS.items():
        if given[name] not in known:
            raise ValueError(
                f"`{name}` must be one of {', '.join(map(str, known))}. "
                f"Received: {name}={given[name]!r}."
            )
    for name, bound in LEAST.items():
        if not is_int(given[name], bound, math.inf):
            raise ValueError(
                f"`{name}` must be an int, {bound} at least. Received: "
                f"{name}={given[name]!r}."
            )
