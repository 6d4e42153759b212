"""Every field of the files of a Molmo2 checkpoint, and what becomes of it.

Data only. A field is read into an argument of ours, or may have certain values
alone, or has no effect here, for the reason given. `molmo2_fields` reads files
by these tables and refuses any other field.
"""

import collections

Field = collections.namedtuple(
    "Field", ["kind", "argument", "type", "default", "allowed", "why"]
)
# A default of fields that every file has.
REQUIRED = object()


def read(argument, type, default=None):
    """A field that becomes an argument."""
    return Field("read", argument, type, default, (), "")


def only(*allowed, why):
    """A field that may be null or of these values."""
    return Field("only", None, None, None, allowed, why)


def unused(why):
    """A field that changes nothing here."""
    return Field("unused", None, None, None, (), why)


ABOUT = unused("says where the file is from, or which class reads it elsewhere")
INITIAL = unused("is of weights that no file holds; a checkpoint holds all")
OUTPUTS = unused("says what transformers returns beside the logits")
SPEED = unused("says how transformers computes, not what")
CLASSES = unused("is of classifiers")
DEVICE = unused("says where and how transformers holds arrays")
# Rates at which training drops values; here nothing is ever dropped.
NO_DROPOUT = only(0, 0.0, why="nothing is dropped in training here")
TRAINED_WITH = "is how Molmo2's architecture is"

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

# What processors of images and videos share.
PIXELS = {
    "_processor_class": ABOUT,
    "_valid_kwargs_names": ABOUT,
    "auto_map": ABOUT,
    "crop_size": unused("is of `do_center_crop`"),
    "data_format": DEVICE,
    "default_to_square": unused("`size` names both sides"),
    "device": DEVICE,
    "disable_grouping": SPEED,
    "do_center_crop": only(False, why="pictures are resized, never cropped"),
    "do_convert_rgb": unused("files are read as RGB, arrays must be"),
    "do_normalize": read("do_normalize", "bool", True),
    "do_pad": only(False, why="pictures are resized, never padded"),
    "do_rescale": read("do_rescale", "bool", True),
    "do_resize": only(True, why="all pictures have one size"),
    "image_mean": read("image_mean", "numbers", [0.5, 0.5, 0.5]),
    "image_seq_length": unused("is of transformers' fast image processors"),
    "image_std": read("image_std", "numbers", [0.5, 0.5, 0.5]),
    "input_data_format": DEVICE,
    "pad_size": unused("is of `do_pad`"),
    "patch_size": read("patch_size", "int"),
    "processor_class": ABOUT,
    "resample": only(2, "bilinear", why="pictures are resized bilinearly"),
    "rescale_factor": read("rescale_factor", "number", 1 / 255),
    "return_tensors": DEVICE,
    "size": read("size", "dict"),
    "transformers_version": ABOUT,
}
IMAGE_PROCESSOR = {
    **PIXELS,
    "feature_extractor_type": ABOUT,
    "image_processor_type": only(
        "Molmo2ImageProcessor",
        "Molmo2ImageProcessorFast",
        why="images are cut up as Molmo2's are",
    ),
    "max_crops": read("max_crops", "int", 8),
    "overlap_margins": only([4, 4], why="crops overlap by four patches"),
    "pooling_size": only([2, 2], why="a token of an image pools 2 x 2 patches"),
}
VIDEO_PROCESSOR = {
    **PIXELS,
    "do_sample_frames": read("do_sample_frames", "bool", True),
    "fps": only(why="frames are chosen by `num_frames` and `max_fps`"),
    "frame_sample_mode": read("frame_sample_mode", "str"),
    "max_fps": read("max_fps", "number", 2),
    "num_frames": read("num_frames", "int", 64),
    "pooling_size": read("pooling_size", "ints", [3, 3]),
    "return_metadata": OUTPUTS,
    "sampling_fps": unused('is of frame_sample_mode "fps"'),
    "video_metadata": only(why="is of one video"),
    "video_processor_type": only(
        "Molmo2VideoProcessor", why="videos are seen as Molmo2 sees them"
    ),
}
PROCESSOR = {
    "auto_map": ABOUT,
    "chat_template": read("chat_template", "any"),
    "image_processor": read("image_processor", "dict"),
    "image_token": only("<|image|>", why="is what stands for an image"),
    "image_use_col_tokens": read("image_use_col_tokens", "bool", True),
    "processor_class": only("Molmo2Processor", why="no other is known"),
    "transformers_version": ABOUT,
    "use_frame_special_tokens": read("use_frame_special_tokens", "bool"),
    "use_single_crop_col_tokens": read(
        "use_single_crop_col_tokens", "bool or null"
    ),
    "use_single_crop_start_token": read(
        "use_single_crop_start_token", "bool", True
    ),
    "video_processor": read("video_processor", "dict"),
    "video_token": only("<|video|>", why="is what stands for a video"),
    "video_use_col_tokens": read("video_use_col_tokens", "bool", False),
}

NO_BEAMS = "answers are drawn token by token, without beams"
NO_PENALTY = "logits are changed by nothing but sampling"
ASSISTANTS = unused("is of decoding with a second model, which changes nothing")
GENERATION = {
    "_from_model_config": ABOUT,
    "assistant_confidence_threshold": ASSISTANTS,
    "assistant_early_exit": ASSISTANTS,
    "assistant_ensemble_weight": only(why=NO_PENALTY),
    "assistant_lookbehind": ASSISTANTS,
    "bad_words_ids": only(why=NO_PENALTY),
    "begin_suppress_tokens": only(why=NO_PENALTY),
    "bos_token_id": unused("the tokenizer's files say what begins a prompt"),
    "cache_config": SPEED,
    "cache_implementation": SPEED,
    "compile_config": SPEED,
    "constraints": only(why=NO_BEAMS),
    "continuous_batching_config": SPEED,
    "decoder_start_token_id": only(why="there is no encoder"),
    "disable_compile": SPEED,
    "diversity_penalty": only(0, 0.0, why=NO_BEAMS),
    "do_sample": read("do_sample", "bool", False),
    "dola_layers": only(why=NO_PENALTY),
    "early_stopping": only(False, why=NO_BEAMS),
    "encoder_no_repeat_ngram_size": only(0, why="there is no encoder"),
    "encoder_repetition_penalty": only(1, 1.0, why="there is no encoder"),
    "eos_token_id": read("stop_token_ids", "ids"),
    "epsilon_cutoff": only(0, 0.0, why=NO_PENALTY),
    "eta_cutoff": only(0, 0.0, why=NO_PENALTY),
    "exponential_decay_length_penalty": only(why=NO_PENALTY),
    "force_words_ids": only(why=NO_BEAMS),
    "forced_bos_token_id": only(why=NO_PENALTY),
    "forced_eos_token_id": only(why=NO_PENALTY),
    "guidance_scale": only(1, 1.0, why=NO_PENALTY),
    "is_assistant": ASSISTANTS,
    "length_penalty": only(1, 1.0, why=NO_BEAMS),
    "low_memory": SPEED,
    "max_cache_len": SPEED,
    "max_length": only(
        20, why="it would count vision tokens; `max_new_tokens` is read"
    ),
    "max_matching_ngram_size": ASSISTANTS,
    "max_new_tokens": read("max_new_tokens", "int"),
    "max_time": only(why="answers end by their tokens, not by the clock"),
    "min_length": only(0, why=NO_PENALTY),
    "min_new_tokens": only(0, why=NO_PENALTY),
    "min_p": only(0, 0.0, why=NO_PENALTY),
    "no_repeat_ngram_size": only(0, why=NO_PENALTY),
    "num_assistant_tokens": ASSISTANTS,
    "num_assistant_tokens_schedule": ASSISTANTS,
    "num_beam_groups": only(1, why=NO_BEAMS),
    "num_beams": only(1, why=NO_BEAMS),
    "num_return_sequences": only(1, why="a prompt has one answer"),
    "output_attentions": OUTPUTS,
    "output_hidden_states": OUTPUTS,
    "output_logits": OUTPUTS,
    "output_scores": OUTPUTS,
    "pad_token_id": unused("padding is masked"),
    "penalty_alpha": only(why=NO_PENALTY),
    "prefill_chunk_size": SPEED,
    "prompt_lookup_num_tokens": ASSISTANTS,
    "remove_invalid_values": only(False, why=NO_PENALTY),
    "renormalize_logits": only(False, why=NO_PENALTY),
    "repetition_penalty": only(1, 1.0, why=NO_PENALTY),
    "return_dict_in_generate": OUTPUTS,
    "return_legacy_cache": OUTPUTS,
    "sequence_bias": only(why=NO_PENALTY),
    "speculation_type": ASSISTANTS,
    "stop_strings": only(why="answers end at tokens: `eos_token_id`"),
    "suppress_tokens": only(why=NO_PENALTY),
    "target_lookbehind": ASSISTANTS,
    "temperature": read("temperature", "number", 1.0),
    "token_healing": only(False, why=NO_PENALTY),
    "top_h": only(why=NO_PENALTY),
    "top_k": read("top_k", "int", 50),
    "top_p": read("top_p", "number", 1.0),
    "transformers_version": ABOUT,
    "typical_p": only(1, 1.0, why=NO_PENALTY),
    "use_cache": SPEED,
    "use_mtp": SPEED,
    "watermarking_config": only(why=NO_PENALTY),
}

NAMED_TOKENS = {
    "bos_token": read("bos_token", "token"),
    "cls_token": read("cls_token", "token"),
    "eos_token": read("eos_token", "token"),
    "mask_token": read("mask_token", "token"),
    "pad_token": read("pad_token", "token"),
    "sep_token": read("sep_token", "token"),
    "unk_token": read("unk_token", "token"),
}
SPECIAL_TOKENS = {
    **NAMED_TOKENS,
    "additional_special_tokens": read("additional_special_tokens", "tokens"),
    "extra_special_tokens": read("extra_special_tokens", "tokens"),
}
NO_FILE_NAMES = unused("files are found by their own names alone")
TOKENIZER_CONFIG = {
    **SPECIAL_TOKENS,
    "add_bos_token": read("add_bos_token", "bool", False),
    "add_eos_token": only(False, why="a prompt does not end so"),
    "add_prefix_space": only(False, why="texts are cut up as they come"),
    "added_tokens_decoder": read("added_tokens", "dict"),
    "additional_chat_templates": read("chat_template", "any"),
    "auto_map": ABOUT,
    "backend": ABOUT,
    "chat_template": read("chat_template", "any"),
    "clean_up_tokenization_spaces": only(
        False, why="answers are written as they come"
    ),
    "errors": only("replace", why="bytes that are no text become marks"),
    "image_token": only("<|image|>", why="is what stands for an image"),
    "init_inputs": ABOUT,
    "is_local": ABOUT,
    "legacy": ABOUT,
    "local_files_only": ABOUT,
    "max_length": only(why="texts are never cut"),
    "merges_file": NO_FILE_NAMES,
    "model_input_names": OUTPUTS,
    "model_max_length": unused("texts are never cut"),
    "model_specific_special_tokens": read("named_special_tokens", "tokens"),
    "name_or_path": ABOUT,
    "pad_to_multiple_of": unused("padding is masked"),
    "pad_token_type_id": unused("padding is masked"),
    "padding_side": unused("padding is masked"),
    "processor_class": ABOUT,
    "special_tokens_map_file": NO_FILE_NAMES,
    "split_special_tokens": only(False, why="special tokens stay whole"),
    "stride": unused("is of texts that are cut"),
    "tokenizer_class": only(
        "GPT2Tokenizer",
        "GPT2TokenizerFast",
        "PreTrainedTokenizerFast",
        "Qwen2Tokenizer",
        "Qwen2TokenizerFast",
        "TokenizersBackend",
        why="byte pairs of GPT-2's kind are read",
    ),
    "tokenizer_file": NO_FILE_NAMES,
    "trim_offsets": OUTPUTS,
    "truncation_side": unused("texts are never cut"),
    "truncation_strategy": unused("texts are never cut"),
    "use_default_system_prompt": only(
        False, why="the chat template is the whole prompt"
    ),
    "verbose": ABOUT,
    "video_token": only("<|video|>", why="is what stands for a video"),
    "vocab_file": NO_FILE_NAMES,
}

TOKENIZER = {
    "added_tokens": read("added_tokens", "list", []),
    "decoder": read("decoder", "dict"),
    "model": read("model", "dict", REQUIRED),
    "normalizer": read("normalizer", "dict"),
    "padding": unused("padding is masked"),
    "post_processor": read("post_processor", "dict"),
    "pre_tokenizer": read("pre_tokenizer", "dict"),
    "truncation": only(why="texts are never cut"),
    "version": only("1.0", why="no other version is known"),
}
TOKENIZER_MODEL = {
    "byte_fallback": only(False, why="all bytes are in the vocabulary"),
    "continuing_subword_prefix": only("", why="parts of words have no marks"),
    "dropout": only(0, 0.0, why="no merge is left out"),
    "end_of_word_suffix": only("", why="ends of words have no marks"),
    "fuse_unk": unused("all bytes are in the vocabulary"),
    "ignore_merges": only(False, why="words are merged pair by pair"),
    "merges": read("merges", "list", REQUIRED),
    "type": only("BPE", why="byte pairs are read"),
    "unk_token": unused("all bytes are in the vocabulary"),
    "vocab": read("vocabulary", "dict", REQUIRED),
}
ADDED_TOKEN = {
    "__type": ABOUT,
    "content": read("content", "str", REQUIRED),
    "id": read("id", "int"),
    "lstrip": only(False, why="spaces around a token stay"),
    "normalized": unused("NFC changes no token that is plain ASCII"),
    "rstrip": only(False, why="spaces around a token stay"),
    "single_word": only(False, why="a token is found inside of words, too"),
    "special": read("special", "bool", False),
}

# By file, then by section; an empty section is the file itself.
TABLES = {
    "config.json": {
        "": CONFIG,
        "vision_config": VISION,
        "vit_config": VISION,
        "adapter_config": ADAPTER,
        "text_config": TEXT,
    },
    "preprocessor_config.json": {"": IMAGE_PROCESSOR},
    "video_preprocessor_config.json": {"": VIDEO_PROCESSOR},
    "processor_config.json": {
        "": PROCESSOR,
        "image_processor": IMAGE_PROCESSOR,
        "video_processor": VIDEO_PROCESSOR,
    },
    "generation_config.json": {"": GENERATION},
    "tokenizer_config.json": {"": TOKENIZER_CONFIG},
    "special_tokens_map.json": {"": SPECIAL_TOKENS},
    "tokenizer.json": {
        "": TOKENIZER,
        "model": TOKENIZER_MODEL,
        "added_tokens": ADDED_TOKEN,
    },
}
