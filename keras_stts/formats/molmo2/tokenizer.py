"""The tokenizer of a Molmo2 checkpoint, from its new or old files."""

import tokenizers

from keras_stts import _hub_compat as hub
from keras_stts.formats.molmo2 import chat_files
from keras_stts.formats.molmo2 import fields
from keras_stts.preprocessing import byte_pairs
from keras_stts.preprocessing.video_vlm_tokenizer import GPT2_SPLIT
from keras_stts.preprocessing.video_vlm_tokenizer import QWEN3_SPLIT
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS
from keras_stts.presets import files as preset_files

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
# The files without a `tokenizer.json`.
VOCABULARY, MERGES, ADDED = "vocab.json", "merges.txt", "added_tokens.json"
LISTS = (
    "additional_special_tokens",
    "extra_special_tokens",
    "named_special_tokens",
)
END, PAD = "<|im_end|>", "<|endoftext|>"


def has_tokenizer(preset):
    """Whether a checkpoint holds a tokenizer."""
    if preset_files.has(preset, TOKENIZER):
        return True
    return all(preset_files.has(preset, name) for name in (VOCABULARY, MERGES))


def load(preset, vision_tokens=VISION_TOKENS):
    """Arguments of `VideoVLMTokenizer`.

    Args:
        preset: Str. Handle or directory.
        vision_tokens: Dict of which the values are the tokens of images and
            videos.

    Returns:
        Dict.

    Raises:
        FileNotFoundError: If there is neither a `tokenizer.json` nor a
            `vocab.json` with a `merges.txt`.
        ValueError: If a field or its value is unknown, or files contradict
            each other.
    """
    config = fields.read_file(preset, CONFIG)
    if config is None:
        config = fields.parse({}, CONFIG, preset=preset)
    named = fields.read_file(preset, SPECIAL_TOKENS) or {}
    if preset_files.has(preset, TOKENIZER):
        arguments = _from_one_file(preset)
    else:
        arguments = _from_old_files(preset)
    fields.require(
        arguments["merges"],
        "hold at least one",
        "merges",
        arguments["merges"],
        f"the tokenizer's files of {preset}",
    )
    added = _added(preset, arguments, config)
    tokens = chat_files.special_tokens(preset)
    vocabulary = arguments["vocabulary"]
    end = tokens.get("eos_token") or END
    pad = tokens.get("pad_token")
    pad = pad or (PAD if PAD in vocabulary else end)
    start = tokens.get("bos_token") or end
    for name, token in (("bos", start), ("eos", end), ("pad", pad)):
        fields.require(
            token in vocabulary,
            "be in the vocabulary",
            f"{name}_token",
            token,
            f"{CONFIG} of {preset}",
        )
    fields.require(
        not config["add_bos_token"] or "bos_token" in tokens,
        "be false without a `bos_token`",
        "add_bos_token",
        True,
        f"{CONFIG} of {preset}",
    )
    special = {token for token, is_special in added.items() if is_special}
    for name in LISTS:
        special.update(_contents(config[name]), _contents(named.get(name)))
    special -= {start, end, pad, *vision_tokens.values()}
    return {
        **arguments,
        "unsplittable_tokens": list(added),
        "start_token": start,
        "end_token": end,
        "pad_token": pad,
        "extra_special_tokens": sorted(special & set(vocabulary)),
    }


def _contents(tokens):
    """Texts of a list of tokens, or of the values of a dict."""
    tokens = tokens.values() if isinstance(tokens, dict) else tokens or ()
    return [t["content"] if isinstance(t, dict) else str(t) for t in tokens]


def _from_one_file(preset):
    where = f"{TOKENIZER} of {preset}"
    data = fields.read_file(preset, TOKENIZER)
    model = fields.parse(data["model"], TOKENIZER, "model", preset)
    decoder = data["decoder"] or {}
    fields.require(
        decoder.get("type") == "ByteLevel",
        "be of type ByteLevel",
        "decoder",
        data["decoder"],
        where,
    )
    _check_post_processor(data["post_processor"], preset, where)
    vocabulary = dict(model["vocabulary"])
    byte_pairs.check_vocabulary(vocabulary, f"`model.vocab` of {where}")
    place = f"`model.merges` of {where}"
    byte_pairs.check_merges(model["merges"], vocabulary, place)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    added = {}
    for token in data["added_tokens"]:
        token = fields.parse(token, TOKENIZER, "added_tokens", preset)
        fields.require(
            token["id"] is not None,
            "be an integer",
            f"added_tokens: id of {token['content']}",
            None,
            where,
        )
        added[token["content"]] = (token["id"], token["special"])
    return {
        "vocabulary": vocabulary,
        "merges": merges,
        "split_pattern": _split_pattern(data["pre_tokenizer"], where),
        "normalization": _normalization(data["normalizer"], where),
        "added": added,
    }


def _from_old_files(preset):
    """Read `vocab.json` and `merges.txt`, the files of slow tokenizers."""
    for name in (VOCABULARY, MERGES):
        if not preset_files.has(preset, name):
            raise FileNotFoundError(
                f"A checkpoint's tokenizer is in {TOKENIZER}, or in "
                f"{VOCABULARY} and {MERGES}. Received: {preset} without "
                f"{TOKENIZER} and {name}. Download it again."
            )
    kind = None
    if preset_files.has(preset, CONFIG):
        kind = preset_files.read_json(preset, CONFIG).get("tokenizer_class")
    qwen, gpt = str(kind).startswith("Qwen2"), str(kind).startswith("GPT2")
    fields.require(
        qwen or gpt,
        f"be Qwen2Tokenizer or GPT2Tokenizer where there is no {TOKENIZER}: "
        "it says where texts are split",
        "tokenizer_class",
        kind,
        f"{CONFIG} of {preset}",
    )
    vocabulary = preset_files.read_json(preset, VOCABULARY)
    byte_pairs.check_vocabulary(vocabulary, f"{VOCABULARY} of {preset}")
    text = preset_files.read_text(preset, MERGES)
    merges = byte_pairs.read_merges(text, vocabulary, f"{MERGES} of {preset}")
    added = {}
    if preset_files.has(preset, ADDED):
        ids = preset_files.read_json(preset, ADDED)
        byte_pairs.check_vocabulary(ids, f"{ADDED} of {preset}")
        added = {token: (i, False) for token, i in ids.items()}
    return {
        "vocabulary": vocabulary,
        "merges": merges,
        "split_pattern": QWEN3_SPLIT if qwen else GPT2_SPLIT,
        "normalization": "NFC" if qwen else None,
        "added": added,
    }


def _added(preset, arguments, config):
    """Added tokens, in the order of their ids, and whether each is special.

    Their ids are added to the vocabulary.
    """
    added = arguments.pop("added")
    for number, token in (config["added_tokens"] or {}).items():
        where = f"{CONFIG} of {preset}"
        label = f"added_tokens_decoder.{number}"
        fields.check_type("dict", token, label, where)
        fields.require(
            number.isdecimal(), "have ids as names", label, token, where
        )
        token = fields.parse(token, TOKENIZER, "added_tokens", where=where)
        content, index = token["content"], int(number)
        known, special = added.get(content, (index, False))
        fields.require(
            known == index,
            f"be as in the vocabulary, {known}",
            f"added_tokens_decoder: id of {content!r}",
            index,
            where,
        )
        added[content] = (index, special or token["special"])
    vocabulary = arguments["vocabulary"]
    owners = {index: token for token, index in vocabulary.items()}
    for token, (index, _) in added.items():
        fields.require(
            vocabulary.get(token, index) == index
            and owners.get(index, token) == token,
            "belong to one token of the vocabulary",
            f"id of {token!r}",
            index,
            f"the tokenizer's files of {preset}",
        )
        vocabulary[token], owners[index] = index, token
    byte_pairs.check_vocabulary(
        vocabulary, f"the tokenizer's files of {preset}"
    )
    ordered = sorted(added, key=lambda token: added[token][0])
    return {token: added[token][1] for token in ordered}


def _check_post_processor(config, preset, where):
    """Raise if anything but the start token is added to texts."""
    if config is None:
        return
    parts = config.get("processors", [config])
    parts = parts if isinstance(parts, list) else [config]
    start = chat_files.special_tokens(preset).get("bos_token")
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "ByteLevel":
            continue
        fields.require(
            _pieces(part) in (["A"], [start, "A"]),
            "add nothing to a text but the start token",
            "post_processor",
            config,
            where,
        )


def _pieces(part):
    """Names of the parts that a template adds to a text, or `None`."""
    try:
        pieces = [next(iter(piece.values())) for piece in part["single"]]
        return [piece["id"] for piece in pieces]
    except (AttributeError, KeyError, StopIteration, TypeError):
        return None


def _split_pattern(config, where):
    """The regular expression of a `pre_tokenizer`."""
    try:
        pattern = _pattern(config)
        tokenizers.Regex(pattern)
    except Exception as error:  # tokenizers has no error class of its own.
        raise ValueError(
            f"`pre_tokenizer` in {where} must be byte-level, of GPT-2 or with "
            f"a regular expression. Received: {config!r:.500}."
        ) from error
    return pattern


def _pattern(config):
    """Like `_split_pattern`, or `None`; any error if it is invalid."""
    parts = config.get("pretokenizers", [config])
    kinds = [part["type"] for part in parts]
    last = parts[-1]
    spaced = last.get("add_prefix_space")
    if kinds == ["ByteLevel"] and last.get("use_regex", True) and not spaced:
        return GPT2_SPLIT
    if kinds == ["Split", "ByteLevel"] and not spaced:
        isolated = parts[0]["behavior"] == "Isolated"
        apart = not last.get("use_regex", True)
        if isolated and apart and not parts[0].get("invert"):
            return parts[0]["pattern"]["Regex"] or None
    return None


def _normalization(config, where):
    kind = None if config is None else config.get("type")
    good = config is None or kind == "NFC"
    fields.require(good, "be of type NFC, or null", "normalizer", config, where)
    return kind


def check_ids(vocabulary, room, preset):
    """Raise if the ids of a vocabulary are not rows of an embedding.

    Args:
        vocabulary: Dict of tokens to ints.
        room: Int, rows of the embedding.
        preset: Str, what errors call the checkpoint.
    """
    unknown = [token for token, i in vocabulary.items() if not 0 <= i < room]
    if unknown:
        raise ValueError(
            "The ids of a tokenizer must be rows of the embedding. Received: "
            f"id {vocabulary[unknown[0]]} of {unknown[0]!r} in the tokenizer's "
            f"files of {preset}, and {room} rows by its {hub.CONFIG_FILE}."
        )
