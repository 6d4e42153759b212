"""The smallest model that prunes: 2x2 blocks of 2x2 patches, 4 frames."""

import numpy as np

import keras_stts

PATCH_ID = 42
# Compiled sooner: one layer of the language model, and two of the vision
# transformer, of which the second gets the bias of scores. Tests of what vision
# tokens see of each other take two layers of the language model: what the last
# one makes of them is not used.
SHALLOW = {
    "num_layers": 1,
    "vision_num_layers": 2,
    "vision_feature_layers": [1, 0],
    "prune_layer": 0,
}
# With a third layer of the vision transformer, the first that runs packed.
PACKED = {
    "num_layers": 2,
    "vision_num_layers": 3,
    "vision_feature_layers": [2, 1],
    "prune_layer": 0,
}


def tiny_model(**kwargs):
    config = {
        "vocabulary_size": 40,
        "additional_vocabulary_size": 8,
        "num_frames": 4,
        "image_size": 16,
        "patch_size": 4,
        "window": 2,
        "vision_num_layers": 4,
        "vision_hidden_dim": 16,
        "vision_num_heads": 2,
        "vision_head_dim": 8,
        "vision_intermediate_dim": 24,
        "vision_feature_layers": [3, 2],
        "connector_hidden_dim": 16,
        "connector_num_heads": 2,
        "connector_head_dim": 8,
        "connector_intermediate_dim": 24,
        "num_layers": 2,
        "hidden_dim": 16,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_dim": 24,
        "image_patch_id": PATCH_ID,
        "vision_token_ids": [PATCH_ID, 43, 44],
        "prune_ratio": 0.5,
        "prune_layer": 1,
        **kwargs,
    }
    backbone = keras_stts.VideoVLMBackbone.from_sizes(**config)
    return keras_stts.VideoVLM(backbone)


def tiny_batch(model, batch_size=2, text_length=6, seed=0):
    """Preprocessed inputs, labels and weights of noise."""
    rng = np.random.default_rng(seed)
    backbone = model.backbone
    frames, size = backbone.num_frames, backbone.image_size
    frame = [5, 43] + [PATCH_ID] * backbone.num_blocks + [44]
    ids = np.array([[1] + frame * frames] * batch_size, "int32")
    shape = (batch_size, frames, size, size, 3)
    text = rng.integers(1, 40, (batch_size, text_length + 1)).astype("int32")
    x = {
        "videos": rng.integers(0, 256, shape, dtype="uint8"),
        "frame_mask": np.ones((batch_size, frames), bool),
        "vision_token_ids": ids,
        "vision_mask": np.ones(ids.shape, bool),
        "token_ids": text[:, :-1],
        "padding_mask": np.ones((batch_size, text_length), bool),
    }
    weights = np.ones((batch_size, text_length), "float32")
    weights[:, : text_length // 2] = 0
    return x, text[:, 1:], weights
