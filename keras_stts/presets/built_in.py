"""Built-in presets: data only.

`config` holds default arguments of `from_preset`; `params` includes the scorer.
"""

_UNCONFIRMED = (
    " The handle is not confirmed: if it does not exist, pass another one."
)

PRESETS = {
    "shapes_tiny": {
        "metadata": {
            "description": (
                "A tiny video language model, trained on "
                "`keras_stts.datasets.shapes`. Ships with the package."
            ),
            "params": 897585,
        },
        "handle": "assets/shapes_tiny",
    },
    "molmo2_4b": {
        "metadata": {
            "description": (
                "Molmo2-4B: SigLIP 2 So400m and Qwen3-4B. Holds no scorer: "
                "train it before pruning."
            ),
            "params": 4884635969,
        },
        "handle": "hf://allenai/Molmo2-4B",
        "config": {"prune_ratio": 0.0},
    },
    "molmo2_8b": {
        "metadata": {
            "description": (
                "Molmo2-8B: SigLIP 2 So400m and Qwen3-8B. Holds no scorer: "
                "train it before pruning."
            ),
            "params": 8695469889,
        },
        "handle": "hf://allenai/Molmo2-8B",
        "config": {"prune_ratio": 0.0},
    },
    "molmo2_o_7b": {
        "metadata": {
            "description": (
                "Molmo2-O-7B: SigLIP 2 So400m and OLMo-3 7B. Holds no "
                "scorer: train it before pruning."
            ),
            "params": 7794553665,
        },
        "handle": "hf://allenai/Molmo2-O-7B",
        "config": {"prune_ratio": 0.0},
    },
    "molmo2_4b_stts_30": {
        "metadata": {
            "description": (
                "Molmo2-4B trained with STTS at 30%. Refilled by default: "
                "its vision transformer was trained on nearly whole frames."
                + _UNCONFIRMED
            ),
            "params": 4884635969,
        },
        "handle": "hf://allenai/Molmo2-4B-Lite-30",
        "config": {"prune_ratio": 0.3, "refill": True},
    },
    "molmo2_4b_stts_50": {
        "metadata": {
            "description": (
                "Molmo2-4B trained with STTS at 50%. Not refilled by "
                "default: refilling concerned 2% of the patches, and would run "
                "the vision transformer at full cost." + _UNCONFIRMED
            ),
            "params": 4884635969,
        },
        "handle": "hf://allenai/Molmo2-4B-Lite-50",
        "config": {"prune_ratio": 0.5},
    },
}
