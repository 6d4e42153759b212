"""Sizes of Qwen3-VL-2B and -4B, as their published configs say."""

VISION = {
    "num_layers": 24,
    "hidden_dim": 1024,
    "num_heads": 16,
    "intermediate_dim": 4096,
    "deepstack_layers": (5, 11, 17),
}
LANGUAGE = {
    "vocabulary_size": 151936,
    "additional_vocabulary_size": 0,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_max_wavelength": 5e6,
    "rope_sections": (24, 20, 20),
}
MODELS = {
    "qwen3_vl_2b": {
        **LANGUAGE,
        "num_layers": 28,
        "hidden_dim": 2048,
        "num_query_heads": 16,
        "intermediate_dim": 6144,
    },
    "qwen3_vl_4b": {
        **LANGUAGE,
        "num_layers": 36,
        "hidden_dim": 2560,
        "num_query_heads": 32,
        "intermediate_dim": 9728,
    },
}
IDS = {"image_patch_id": 151655, "video_patch_id": 151656}
BLOCKS = 256  # Of a frame, that is of two of the video: 512x512 pixels.
BLOCK_PIXELS = 32**2
MAX_PIXELS = 25165824  # Of all frames of a video, as published.


def blocks_of(num_frames):
    """Blocks of a frame: `BLOCKS`, or what the published limit allows.

    Args:
        num_frames: Int, pairs of frames of the video.
    """
    return min(BLOCKS, MAX_PIXELS // (2 * num_frames * BLOCK_PIXELS))


def parts_of(name, *, depth=None, num_frames, **settings):
    """Dict of the parts of a `VideoVLMBackbone` of one of `MODELS`.

    Args:
        name: Str.
        depth: Optional layers of language model and vision encoder.
        num_frames: Int, pairs of frames of the video.
        **settings: `dtype` and `rematerialize`, see `from_preset`.
    """
    from keras_stts import language
    from keras_stts import towers

    vision, text = dict(VISION), dict(MODELS[name])
    if depth is not None:
        text["num_layers"], vision["num_layers"] = depth
        last = vision["num_layers"] - 1
        vision["deepstack_layers"] = [last // 4, last // 2, last * 3 // 4]
    return {
        "vision_encoder": towers.Qwen3VLVisionEncoder(
            **vision,
            **settings,
            num_blocks=blocks_of(num_frames),
            name="vision_encoder",
        ),
        "connector": towers.Qwen3VLConnector(
            vision["hidden_dim"],
            text["hidden_dim"],
            num_additions=len(vision["deepstack_layers"]),
            dtype=settings.get("dtype"),
            name="connector",
        ),
        "language_model": language.LanguageModel(
            **text, **settings, name="language_model"
        ),
    }


def make_backbone(name, *, num_frames, prune_ratio, pruning, **options):
    """A `VideoVLMBackbone` of one of `MODELS`.

    Args:
        prune_ratio, pruning: See `from_preset`.
        name, num_frames, **options: See `parts_of`.
    """
    import keras_stts

    method = keras_stts.pruning.get(pruning if prune_ratio else None)
    method.settle(ratio=prune_ratio)
    return keras_stts.VideoVLMBackbone(
        **parts_of(name, num_frames=num_frames, **options),
        num_frames=num_frames,
        vision_token_ids=[],
        pruning=method,
        **IDS,
    )


def config_of(name, *, num_frames, **options):
    """What `VideoVLM.memory_of` takes: see `parts_of`. No weights are made."""
    import keras

    parts = parts_of(name, num_frames=num_frames, **options).items()
    found = {n: keras.saving.serialize_keras_object(each) for n, each in parts}
    return {**found, "num_frames": num_frames, "vision_token_ids": [], **IDS}
