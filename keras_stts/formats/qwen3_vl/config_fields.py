"""Every field of `config.json`, the model and its parts. Data only."""

from keras_stts.formats.field_kinds import REQUIRED
from keras_stts.formats.field_kinds import only
from keras_stts.formats.field_kinds import read
from keras_stts.formats.field_kinds import unused
from keras_stts.formats.molmo2.config_fields import INITIAL
from keras_stts.formats.molmo2.config_fields import NO_DROPOUT
from keras_stts.formats.molmo2.config_fields import PART as SHARED

PART = {
    **SHARED,
    "architectures": only(
        ["Qwen3VLForConditionalGeneration"], why="no other model is known"
    ),
    "initializer_range": INITIAL,
}
CONFIG = {
    **PART,
    "eos_token_id": read("stop_token_ids", "ids"),
    "image_token_id": read("image_token_id", "int", 151655),
    "model_type": only(
        "qwen3_vl", why="no other model is read by these tables"
    ),
    "text_config": read("text_config", "dict", REQUIRED),
    "tie_word_embeddings": read("tie_embeddings", "bool", False),
    "video_token_id": read("video_token_id", "int", 151656),
    "vision_config": read("vision_config", "dict", REQUIRED),
    "vision_end_token_id": read("vision_end", "int", 151653),
    "vision_start_token_id": read("vision_start", "int", 151652),
    "keras_stts": read("keras_stts", "dict"),
}
VISION = {
    **PART,
    "deepstack_visual_indexes": read(
        "vision_deepstack_layers", "ints", REQUIRED
    ),
    "depth": read("vision_num_layers", "int", REQUIRED),
    "hidden_act": read("vision_activation", "str", REQUIRED),
    "hidden_size": read("vision_hidden_dim", "int", REQUIRED),
    "in_channels": only(3, why="frames are RGB"),
    "intermediate_size": read("vision_intermediate_dim", "int", REQUIRED),
    "model_type": only("qwen3_vl", "qwen3_vl_vision", why="no other is known"),
    "num_heads": read("vision_num_heads", "int", REQUIRED),
    "num_position_embeddings": read("num_positions", "int", REQUIRED),
    "out_hidden_size": read("connector_output_dim", "int", REQUIRED),
    "patch_size": read("vision_patch_size", "int", REQUIRED),
    "rope_parameters": only(
        {"rope_theta": 10000.0, "rope_type": "axial"},
        why="places of patches are rotated by these frequencies",
    ),
    "spatial_merge_size": read("vision_window", "int", REQUIRED),
    "temporal_patch_size": read("vision_temporal_patch_size", "int", REQUIRED),
}
TEXT = {
    **PART,
    "attention_bias": read("attention_bias", "bool", False),
    "attention_dropout": NO_DROPOUT,
    "eos_token_id": read("stop_token_ids", "ids"),
    "head_dim": read("head_dim", "int", 128),
    "hidden_act": read("activation", "str", REQUIRED),
    "hidden_size": read("hidden_dim", "int", REQUIRED),
    "intermediate_size": read("intermediate_dim", "int", REQUIRED),
    "max_position_embeddings": unused("positions have no limit here"),
    "model_type": only("qwen3_vl_text", why="no other is known"),
    "num_attention_heads": read("num_query_heads", "int", REQUIRED),
    "num_hidden_layers": read("num_layers", "int", REQUIRED),
    "num_key_value_heads": read("num_key_value_heads", "int", REQUIRED),
    "rms_norm_eps": read("layer_norm_epsilon", "number", REQUIRED),
    "rope_parameters": read("rope_parameters", "dict"),
    "rope_scaling": read("rope_scaling", "dict"),
    "rope_theta": read("rope_theta", "number"),
    "tie_word_embeddings": read("tie_embeddings", "bool or null"),
    "vocab_size": read("vocabulary_size", "int", REQUIRED),
}
