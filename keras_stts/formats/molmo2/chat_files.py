"""The chat template of a checkpoint in Hugging Face's layout."""

import pathlib

from keras_stts.preprocessing import chat
from keras_stts.presets import files as preset_files

TEMPLATE = "chat_template.jinja"
OLD_TEMPLATE = "chat_template.json"
MORE_TEMPLATES = "additional_chat_templates"
PROCESSOR = "processor_config.json"
TOKENIZER = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
# Special tokens whose names do not end in `_token`.
MORE_TOKENS = (
    "additional_special_tokens",
    "extra_special_tokens",
    "model_specific_special_tokens",
)


def load(preset):
    """The chat template, from the first file that transformers would take.

    That is `processor_config.json`, then `chat_template.json`,
    `chat_template.jinja` and `additional_chat_templates/`, and then
    `tokenizer_config.json`.

    Args:
        preset: Str. Handle or directory.

    Returns:
        Str, or `None` if there is none.

    Raises:
        ValueError: If a file is damaged or empty, two files contradict each
            other, or none of several templates is the default.
    """
    _check_old(preset)
    for name, read in (
        (PROCESSOR, _in_json),
        (OLD_TEMPLATE, _in_json),
        (TEMPLATE, _text),
        (f"{MORE_TEMPLATES}/default.jinja", _text),
        (MORE_TEMPLATES, _without_default),
        (TOKENIZER, _in_json),
    ):
        template = read(preset, name)
        if template is not None:
            return _checked(template, preset, name)
    return None


def special_tokens(preset):
    """The special tokens that a checkpoint's template gets.

    Args:
        preset: Str. Handle or directory.

    Returns:
        Dict such as `{"bos_token": "<|im_end|>"}`.
    """
    config = _settings(preset, TOKENIZER)
    if "added_tokens_decoder" not in config:
        config = {**config, **_settings(preset, SPECIAL_TOKENS)}
    tokens = {k: v for k, v in config.items() if k.endswith("_token")}
    for name in MORE_TOKENS:
        if isinstance(config.get(name), dict):
            tokens |= config[name]
    tokens = {
        name: token.get("content") if isinstance(token, dict) else token
        for name, token in tokens.items()
    }
    # Switches such as `add_bos_token` are no tokens.
    return {k: v for k, v in tokens.items() if isinstance(v, str)}


def _checked(template, preset, name):
    try:
        template = chat.choose(template)
    except ValueError as error:
        raise ValueError(f"{error} It is in {name} of {preset}.") from error
    if not template.strip():
        raise ValueError(
            "The file of a chat template must hold one. Received: an empty one "
            f"in {name} of {preset}. Download it again."
        )
    return template


def _check_old(preset):
    """Raise if the old file is invalid, or if there are new files, too."""
    if not preset_files.has(preset, OLD_TEMPLATE):
        return
    config = preset_files.read_json(preset, OLD_TEMPLATE)
    if config.get("chat_template") is None:
        raise ValueError(
            f'{OLD_TEMPLATE} must hold a "chat_template". Received: that of '
            f"{preset} with {', '.join(sorted(config)) or 'nothing'}."
        )
    if _more(preset):
        raise ValueError(
            "A checkpoint must have its chat templates either in "
            f"{OLD_TEMPLATE} or in {MORE_TEMPLATES}. Received: {preset} with "
            f"both. Replace the former by a {TEMPLATE}."
        )


def _without_default(preset, name):
    """The names of templates none of which is the default."""
    return dict.fromkeys(_more(preset)) or None


def _more(preset):
    """Names of the templates beside the first; of directories only."""
    folder = pathlib.Path(str(preset), MORE_TEMPLATES)
    return sorted(path.stem for path in folder.glob("*.jinja"))


def _in_json(preset, name):
    return _settings(preset, name).get("chat_template")


def _settings(preset, name):
    """A JSON file's dict, empty if there is no such file."""
    if not preset_files.has(preset, name):
        return {}
    return preset_files.read_json(preset, name)


def _text(preset, name):
    if not preset_files.has(preset, name):
        return None
    # Line ends as Python reads them from text files.
    text = preset_files.read_text(preset, name)
    return text.replace("\r\n", "\n").replace("\r", "\n")
