"""Built-in presets: data only.

`config` holds default arguments of `from_preset`; `params` includes the scorer.
"""

_UNCONFIRMED = (
    " The handle is not confirmed: if it does not exist, pass another one."
)

# Handles: huggingface.co/Qwen, sizes: the configs that
# tests/models/real_qwen3_vl_test.py names. The output head of 2B and 4B is the
# embedding: 2B's is a file of 4.26 GB in bfloat16.
_QWEN3_VL = {
    "2b": ("28 layers of width 2,048", 2127532032 + 29376513),
    "4b": ("36 layers of width 2,560", 4437815808 + 29376513),
    "8b": ("36 layers of width 4,096", 8767123696 + 33766769),
}


def _qwen3_vl(size, edition):
    decoder, params = _QWEN3_VL[size]
    name = f"Qwen3-VL-{size.upper()}-{edition}"
    return {
        "metadata": {
            "description": (
                f"{name}: a vision transformer for frames of any size, and a "
                f"decoder of {decoder}. Holds no scorer: train it before "
                "pruning."
            ),
            "params": params,
        },
        "handle": f"hf://Qwen/{name}",
        "config": {"prune_ratio": 0.0},
    }


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
    "shapes_tiny_qwen3vl": {
        "metadata": {
            "description": (
                "A tiny video language model of Qwen3-VL's architecture, for "
                "frames of any size, trained on `keras_stts.datasets.shapes`. "
                "Ships with the package."
            ),
            "params": 1116881,
        },
        "handle": "assets/shapes_tiny_qwen3vl",
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
    **{
        f"qwen3_vl_{size}{suffix}": _qwen3_vl(size, edition)
        for size in _QWEN3_VL
        for suffix, edition in (("", "Instruct"), ("_thinking", "Thinking"))
    },
}
