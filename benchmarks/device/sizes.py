"""Sizes of the models that are run, and what a task of each is."""

from molmo2_4b import WHOLE

RATIOS = (0.3, 0.5, 0.8)
HALF = 0.5
TEXT, TIME_TOKENS = 64, 8
# Smaller in all but what decides which code runs: frames of an odd number of
# patches, grouped queries, vision blocks before and after the pruning.
SMALL = {
    "vocabulary_size": 320,
    "image_size": 126,
    "patch_size": 14,
    "vision_num_layers": 3,
    "vision_feature_layers": (2, 1),
    "prune_layer": 0,
    "vision_hidden_dim": 48,
    "vision_num_heads": 2,
    "vision_head_dim": 24,
    "vision_intermediate_dim": 96,
    "connector_hidden_dim": 48,
    "connector_num_heads": 2,
    "connector_head_dim": 24,
    "connector_intermediate_dim": 96,
    "num_layers": 2,
    "hidden_dim": 64,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_dim": 96,
}
# (frames, videos of a batch), the most important first: the paper's two.
SHAPES = {
    "real": ((64, 2), (256, 1), (128, 1), (64, 1)),
    "small": ((6, 2),),
}


def of(short):
    return SMALL if short else WHOLE


def ratios(short):
    return (HALF,) if short else RATIOS


def shapes(short):
    return SHAPES["small" if short else "real"]


def special_ids(sizes):
    """Published ids above the vocabulary; all in the tokenizer's order."""
    first = sizes["vocabulary_size"]
    return {
        "patch": first + 2,
        "all": [first + place for place in (2, 3, 0, 4, 7, 1, 8, 6)],
    }


def vision_sizes(sizes):
    """Width, width of all heads, and width of the MLP of a vision block."""
    return (
        sizes["vision_hidden_dim"],
        sizes["vision_num_heads"] * sizes["vision_head_dim"],
        sizes["vision_intermediate_dim"],
    )


def grid(sizes):
    """Patches of a side, and blocks of 3x3 patches of a frame."""
    side = sizes["image_size"] // sizes["patch_size"]
    return side, (side // 3) ** 2
