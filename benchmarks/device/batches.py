"""Videos of noise, and texts of random tokens, preprocessed."""

import numpy as np


def video_batch(backbone, num_frames, batch_size=1, text=64, time_tokens=8):
    """Inputs, labels and weights of a batch.

    Args:
        backbone: A `VideoVLMBackbone`. Its vision tokens follow its
            vocabulary in the published order.
        num_frames: Int.
        batch_size: Int.
        text: Int. Tokens of the text part.
        time_tokens: Int. Tokens before each frame.

    Returns:
        Tuple (x, y, sample_weight) as `fit` takes it.
    """
    rng = np.random.default_rng(0)
    size, patch = backbone.image_size, backbone.image_patch_id
    frame = [1] * time_tokens + [patch + 5]
    frame += [patch] * backbone.num_blocks + [patch + 6]
    ids = np.array([[0] + frame * num_frames] * batch_size, "int32")
    words = min(1000, backbone.vocabulary_size)
    shape = (batch_size, text + 1)
    tokens = rng.integers(0, words, shape).astype("int32")
    shape = (batch_size, num_frames, size, size, 3)
    x = {
        "videos": rng.integers(0, 256, shape, dtype="uint8"),
        "frame_mask": np.ones(shape[:2], bool),
        "vision_token_ids": ids,
        "vision_mask": np.ones(ids.shape, bool),
        "token_ids": tokens[:, :-1],
        "padding_mask": np.ones((batch_size, text), bool),
    }
    return x, tokens[:, 1:], np.ones((batch_size, text), "float32")
