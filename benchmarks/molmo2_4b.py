"""Sizes of Molmo2-4B: of So400m, of its connector and of Qwen3-4B; and ids."""

WIDTHS = {
    "image_size": 378,
    "patch_size": 14,
    "vision_hidden_dim": 1152,
    "vision_num_heads": 16,
    "vision_head_dim": 72,
    "vision_intermediate_dim": 4304,
    "connector_hidden_dim": 1152,
    "connector_num_heads": 16,
    "connector_head_dim": 72,
    "connector_intermediate_dim": 9728,
    "hidden_dim": 2560,
    "num_query_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_dim": 9728,
}
WHOLE = {
    **WIDTHS,
    "vocabulary_size": 151936,
    "vision_num_layers": 25,
    "vision_feature_layers": (24, 18),
    "num_layers": 36,
}
IDS = {
    "image_patch_id": 151938,
    "vision_token_ids": [*range(151936, 151941), *range(151942, 151945)],
}
