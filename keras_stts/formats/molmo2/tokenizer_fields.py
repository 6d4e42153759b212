"""Every field of the files of a tokenizer. Data only."""

from keras_stts.formats.field_kinds import ABOUT
from keras_stts.formats.field_kinds import OUTPUTS
from keras_stts.formats.field_kinds import REQUIRED
from keras_stts.formats.field_kinds import only
from keras_stts.formats.field_kinds import read
from keras_stts.formats.field_kinds import unused

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
