"""Every field of `config.json`, the model and its parts. Data only."""

from keras_stts.formats.field_kinds import ABOUT
from keras_stts.formats.field_kinds import OUTPUTS
from keras_stts.formats.field_kinds import REQUIRED
from keras_stts.formats.field_kinds import SPEED
from keras_stts.formats.field_kinds import only
from keras_stts.formats.field_kinds import read
from keras_stts.formats.field_kinds import unused

# Rates at which training drops values; here nothing is ever dropped.
NO_DROPOUT = only(0, 0.0, why="nothing is dropped in training here")
TRAINED_WITH = "is how Molmo2's architecture is"
INITIAL = unused("is of weights that no file holds; a checkpoint holds all")
CLASSES = unused("is of classifiers")

# What transformers writes into every config, also those of parts.
COMMON = {
    "_attn_implementation": SPEED,
    "_attn_implementation_autoset": SPEED,
    "_commit_hash": ABOUT,
    "_name_or_path": ABOUT,
    "add_cross_attention": only(False, why=TRAINED_WITH),
    "architectures": only(
        ["Molmo2ForConditionalGeneration"], why="no other model is known"
    ),
    "attn_implementation": SPEED,
    "auto_map": ABOUT,
    "bad_words_ids": only(why="a config of generation is a file of its own"),
    "begin_suppress_tokens": only(why="generation has a file of its own"),
    "bos_token_id": unused("the tokenizer's files say what begins a prompt"),
    "chunk_size_feed_forward": unused("transformers' chunks change nothing"),
    "cross_attention_hidden_size": only(why=TRAINED_WITH),
    "decoder_start_token_id": only(why=TRAINED_WITH),
    "dtype": unused("`from_preset(dtype=...)` says what a model is run in"),
    "exponential_decay_length_penalty": only(
        why="generation has a file of its own"
    ),
    "finetuning_task": ABOUT,
    "forced_bos_token_id": only(why="generation has a file of its own"),
    "forced_eos_token_id": only(why="generation has a file of its own"),
    "id2label": CLASSES,
    "initializer_range": INITIAL,
    "is_decoder": only(False, why=TRAINED_WITH),
    "is_encoder_decoder": only(False, why=TRAINED_WITH),
    "label2id": CLASSES,
    "output_attentions": OUTPUTS,
    "output_hidden_states": OUTPUTS,
    "pad_token_id": unused("padding is masked"),
    "prefix": only("", why="the chat template is the whole prompt"),
    "problem_type": CLASSES,
    "pruned_heads": only({}, why="heads are not pruned"),
    "quantization_config": only(
        why="quantized weights are not read; `model.quantize` quantizes here"
    ),
    "return_dict": OUTPUTS,
    "sep_token_id": unused("texts are not joined in pairs"),
    "suppress_tokens": only(why="generation has a file of its own"),
    "task_specific_params": only(why="generation has a file of its own"),
    "tf_legacy_loss": unused("is of transformers' losses"),
    "tie_encoder_decoder": only(False, why=TRAINED_WITH),
    "tokenizer_class": ABOUT,
    "torch_dtype": unused("`from_preset(dtype=...)` says what it is run in"),
    "torchscript": SPEED,
    "transformers_version": ABOUT,
    "use_bfloat16": SPEED,
    "use_cache": SPEED,
}
# What transformers 4 wrote there of generation, at values that do nothing.
GENERATION_IN_CONFIG = {
    "diversity_penalty": only(0, 0.0, why="generation has a file of its own"),
    "do_sample": only(False, why="generation has a file of its own"),
    "early_stopping": only(False, why="beams are not used"),
    "encoder_no_repeat_ngram_size": only(0, why="there is no encoder"),
    "length_penalty": only(1, 1.0, why="beams are not used"),
    "max_length": only(20, why="generation has a file of its own"),
    "min_length": only(0, why="generation has a file of its own"),
    "no_repeat_ngram_size": only(0, why="generation has a file of its own"),
    "num_beam_groups": only(1, why="beams are not used"),
    "num_beams": only(1, why="beams are not used"),
    "num_return_sequences": only(1, why="a prompt has one answer"),
    "output_scores": OUTPUTS,
    "remove_invalid_values": only(False, why="logits are taken as they are"),
    "repetition_penalty": only(1, 1.0, why="generation has a file of its own"),
    "return_dict_in_generate": OUTPUTS,
    "temperature": only(1, 1.0, why="generation has a file of its own"),
    "top_k": only(50, why="generation has a file of its own"),
    "top_p": only(1, 1.0, why="generation has a file of its own"),
    "typical_p": only(1, 1.0, why="generation has a file of its own"),
}
PART = {**COMMON, **GENERATION_IN_CONFIG}

CONFIG = {
    **PART,
    "eos_token_id": read("stop_token_ids", "ids"),
    "frame_end_token_id": read("frame_end", "int"),
    "frame_start_token_id": read("frame_start", "int"),
    "image_col_id": read("image_col", "int"),
    "image_end_token_id": read("image_end", "int"),
    "image_high_res_id": read("image_patch", "int"),
    "image_low_res_id": read("image_low", "int"),
    "image_patch_id": read("image_patch", "int", REQUIRED),
    "image_start_token_id": read("image_start", "int"),
    "image_token_id": read("image_patch", "int", REQUIRED),
    "low_res_image_start_token_id": read("low_res_image_start", "int"),
    "model_type": only("molmo2", why="no other model is read by these tables"),
    "tie_word_embeddings": only(
        False, why="the output head has weights of its own"
    ),
    "use_frame_special_tokens": read("use_frame_special_tokens", "bool"),
    "video_token_id": read("image_patch", "int"),
    # Parts, each with a table of its own; two of them have two names.
    "adapter_config": read("adapter_config", "dict", REQUIRED),
    "text_config": read("text_config", "dict", REQUIRED),
    "vision_config": read("vision_config", "dict", REQUIRED),
    "vit_config": read("vision_config", "dict", REQUIRED),
    "keras_stts": read("keras_stts", "dict"),
    "stts_config": read("stts_config", "dict"),
}

VISION = {
    **PART,
    "attention_bias": only(True, why=TRAINED_WITH),
    "attention_dropout": NO_DROPOUT,
    "float32_attention": unused("attention is always softened in float32"),
    "head_dim": read("vision_head_dim", "int", REQUIRED),
    "hidden_act": read("vision_activation", "str", REQUIRED),
    "hidden_size": read("vision_hidden_dim", "int", REQUIRED),
    "image_size": read("image_size", "ints", REQUIRED),
    "image_default_input_size": read("image_size", "ints", REQUIRED),
    "image_num_pos": read("num_positions", "int"),
    "intermediate_size": read("vision_intermediate_dim", "int", REQUIRED),
    "layer_norm_eps": read("vision_layer_norm_epsilon", "number", REQUIRED),
    "model_type": only("molmo2", "molmo2_vision", why="no other is known"),
    "num_attention_heads": read("vision_num_heads", "int", REQUIRED),
    "num_channels": only(3, why="frames are RGB"),
    "num_hidden_layers": read("vision_num_layers", "int", REQUIRED),
    "num_key_value_heads": read("num_key_value_heads", "int"),
    "num_position_embeddings": read("num_positions", "int"),
    "patch_size": read("patch_size", "int", REQUIRED),
    "image_patch_size": read("patch_size", "int", REQUIRED),
    "residual_dropout": NO_DROPOUT,
}

ADAPTER = {
    **PART,
    "attention_bias": only(True, why=TRAINED_WITH),
    "attention_dropout": NO_DROPOUT,
    "float32_attention": unused("attention is always softened in float32"),
    "head_dim": read("connector_head_dim", "int", REQUIRED),
    "hidden_act": read("connector_activation", "str", "silu"),
    "hidden_size": read("connector_hidden_dim", "int", REQUIRED),
    "image_feature_dropout": NO_DROPOUT,
    "intermediate_size": read("connector_intermediate_dim", "int", REQUIRED),
    "mlp_bias": only(False, why=TRAINED_WITH),
    "model_type": only("molmo2", "molmo2_adapter", why="no other is known"),
    "num_attention_heads": read("connector_num_heads", "int", REQUIRED),
    "num_key_value_heads": read("num_key_value_heads", "int"),
    "pooling_attention_mask": only(
        True, why="patches that a block lacks are never pooled"
    ),
    "residual_dropout": NO_DROPOUT,
    "text_hidden_size": read("text_hidden_size", "int"),
    "vision_feature_layer": read("vision_feature_layers", "ints", REQUIRED),
    "vit_layers": read("vision_feature_layers", "ints", REQUIRED),
}

TEXT = {
    **PART,
    "additional_vocab_size": read(
        "additional_vocabulary_size", "int", REQUIRED
    ),
    "attention_bias": read("attention_bias", "bool", False),
    "attention_dropout": NO_DROPOUT,
    "embedding_dropout": NO_DROPOUT,
    "eos_token_id": read("stop_token_ids", "ids"),
    "head_dim": read("head_dim", "int", REQUIRED),
    "hidden_act": read("activation", "str", REQUIRED),
    "hidden_size": read("hidden_dim", "int", REQUIRED),
    "intermediate_size": read("intermediate_dim", "int", REQUIRED),
    "max_position_embeddings": read("max_positions", "int", 36864),
    "model_type": only("molmo2_text", why="no other is known"),
    "norm_after": read("norm_after", "bool", False),
    "num_attention_heads": read("num_query_heads", "int", REQUIRED),
    "num_hidden_layers": read("num_layers", "int", REQUIRED),
    "num_key_value_heads": read("num_key_value_heads", "int", REQUIRED),
    "original_max_position_embeddings": read("original_max_positions", "int"),
    "partial_rotary_factor": only(1, 1.0, why="whole heads are rotated"),
    "qk_norm_type": read("query_key_norm", "str", "qwen3"),
    "qkv_bias": read("attention_bias", "bool", False),
    "residual_dropout": NO_DROPOUT,
    "rms_norm_eps": read("layer_norm_epsilon", "number", REQUIRED),
    "layer_norm_eps": read("layer_norm_epsilon", "number", REQUIRED),
    "rope_parameters": read("rope_parameters", "dict"),
    "rope_scaling": read("rope_scaling", "dict"),
    "rope_scaling_layers": read("rope_scaling_layers", "ints"),
    "rope_theta": read("rope_theta", "number"),
    "tie_word_embeddings": only(
        False, why="the output head has weights of its own"
    ),
    "use_qk_norm": only(True, why="queries and keys are normalised"),
    "vocab_size": read("vocabulary_size", "int", REQUIRED),
}
