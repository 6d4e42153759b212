"""Checkpoints in the format of Molmo2's authors (Hugging Face)."""

import json
import warnings

from keras_stts import _hub_compat as hub
from keras_stts.layers.initializers import scorer_initializer
from keras_stts.layers.initializers import weights_to_be_loaded
from keras_stts.models import chat_files
from keras_stts.models.checkpoint import Checkpoint
from keras_stts.models.molmo2_weights import SCORER
from keras_stts.models.molmo2_weights import backbone_table
from keras_stts.models.molmo2_weights import head_table
from keras_stts.models.video_vlm_backbone import VideoVLMBackbone
from keras_stts.models.video_vlm_preprocessor import VideoVLMPreprocessor
from keras_stts.models.video_vlm_tokenizer import GPT2_SPLIT
from keras_stts.models.video_vlm_tokenizer import VISION_TOKENS
from keras_stts.models.video_vlm_tokenizer import VideoVLMTokenizer
from keras_stts.models.video_vlm_video_converter import VideoVLMVideoConverter

TOKENIZER = "tokenizer.json"
PROCESSOR = "processor_config.json"
# The ways of images that are built in.
IMAGES = {"overlap_margins": [4, 4], "pooling_size": [2, 2]}
# What a checkpoint without that file was trained with.
VIDEO_PROCESSOR = {
    "num_frames": 64,
    "max_fps": 2,
    "size": {"height": 378, "width": 378},
    "patch_size": 14,
    "pooling_size": [3, 3],
}

# Fields of the config that hold the id of a vision token, if it has them.
ID_FIELDS = {
    "image_patch": "image_patch_id",
    "image_col": "image_col_id",
    "image_start": "image_start_token_id",
    "low_res_image_start": "low_res_image_start_token_id",
    "frame_start": "frame_start_token_id",
    "image_end": "image_end_token_id",
    "frame_end": "frame_end_token_id",
    "image_low": "image_low_res_id",
}
# How far behind the placeholder's the published ids are.
ID_OFFSETS = {
    "image_patch": 0,
    "image_col": 1,
    "image_start": -2,
    "low_res_image_start": 2,
    "frame_start": 5,
    "image_end": -1,
    "frame_end": 6,
    "image_low": 4,
}


def load(cls, preset, load_weights=True, **kwargs):
    """`from_preset` of one of this package's classes."""
    if issubclass(cls, VideoVLMBackbone):
        return load_backbone(preset, load_weights, cls=cls, **kwargs)
    if issubclass(cls, VideoVLMTokenizer):
        return load_tokenizer(preset, cls=cls, **kwargs)
    if issubclass(cls, VideoVLMVideoConverter):
        return load_converter(preset, cls=cls, **kwargs)
    return load_preprocessor(preset, kwargs, cls=cls)


def load_backbone(preset, load_weights=True, cls=VideoVLMBackbone, **kwargs):
    """The backbone of a checkpoint, with changed arguments."""
    config = backbone_config(
        hub.load_json(preset, hub.CONFIG_FILE),
        _video_processor(preset),
        _vocabulary(preset),
    )
    with weights_to_be_loaded(load_weights):
        backbone = cls(**{**config, **kwargs})
    if not load_weights:
        return backbone
    table = backbone_table(backbone)
    checkpoint = Checkpoint(preset)
    if not checkpoint.has(SCORER):
        for keys in [keys for keys in table if SCORER in keys[0]]:
            _draw(table.pop(keys))
        if backbone.prune_ratio:
            warnings.warn(
                f"{preset} holds no token scorer, so it starts untrained. "
                "Train it before you prune, or load with prune_ratio=0."
            )
    checkpoint.assign(table, also=("lm_head.weight",))
    return backbone


def _draw(variables):
    """Random weights of a scorer that is yet to be trained."""
    for variable in variables:
        if variable.name == "kernel":
            initializer = scorer_initializer()
            variable.assign(initializer(variable.shape, variable.dtype))


def load_head(model, preset):
    """Load the output head of a `VideoVLM`."""
    Checkpoint(preset).assign(head_table(model), partial=True)


def backbone_config(config, video_processor=VIDEO_PROCESSOR, vocabulary=None):
    """Arguments of `VideoVLMBackbone` from a checkpoint's configs.

    Args:
        config: Dict, `config.json`, in the authors' or transformers' words.
        video_processor: Dict, the part of that name of the processor's.
        vocabulary: Optional dict of token to id.

    Raises:
        ValueError: If a field is missing, or the model is of a kind that
            `VideoVLMBackbone` cannot be.
    """
    vision = _field(config, "vision_config", "vit_config")
    text = _field(config, "text_config")
    ids = vision_token_ids(config, vocabulary or {})
    return {
        **_vision_config(vision, _field(config, "adapter_config")),
        **_text_config(text),
        "num_frames": video_processor["num_frames"],
        "window": video_processor["pooling_size"][0],
        "image_patch_id": ids["image_patch"],
        "vision_token_ids": list(ids.values()),
        # Of a model that `export_to_transformers` wrote.
        **config.get("stts_config", {}),
    }


def _vision_config(vision, adapter):
    depth = _field(vision, "num_hidden_layers")
    features = _field(adapter, "vision_feature_layer", "vit_layers")
    features = [layer % depth for layer in features]
    size = _field(vision, "image_size", "image_default_input_size")
    return {
        "image_size": size[0],
        "patch_size": _field(vision, "patch_size", "image_patch_size"),
        # Blocks above the last feature are never run.
        "vision_num_layers": max(features) + 1,
        "vision_hidden_dim": _field(vision, "hidden_size"),
        "vision_num_heads": _field(vision, "num_attention_heads"),
        "vision_head_dim": _field(vision, "head_dim"),
        "vision_intermediate_dim": _field(vision, "intermediate_size"),
        "vision_feature_layers": features,
        "vision_layer_norm_epsilon": _field(vision, "layer_norm_eps"),
        "vision_activation": _field(vision, "hidden_act"),
        "connector_hidden_dim": _field(adapter, "hidden_size"),
        "connector_num_heads": _field(adapter, "num_attention_heads"),
        "connector_head_dim": _field(adapter, "head_dim"),
        "connector_intermediate_dim": _field(adapter, "intermediate_size"),
    }


def _text_config(text):
    rope = text.get("rope_parameters") or text
    return {
        "vocabulary_size": _field(text, "vocab_size"),
        "additional_vocabulary_size": _field(text, "additional_vocab_size"),
        "num_layers": _field(text, "num_hidden_layers"),
        "hidden_dim": _field(text, "hidden_size"),
        "num_query_heads": _field(text, "num_attention_heads"),
        "num_key_value_heads": _field(text, "num_key_value_heads"),
        "head_dim": _field(text, "head_dim"),
        "intermediate_dim": _field(text, "intermediate_size"),
        "rope_max_wavelength": _field(rope, "rope_theta"),
        "layer_norm_epsilon": _field(text, "rms_norm_eps", "layer_norm_eps"),
        "activation": _field(text, "hidden_act"),
        "query_key_norm": _named(
            text, "qk_norm_type", {"qwen3": "head", "olmo": "all"}
        ),
        "norm_after": bool(text.get("norm_after")),
        "attention_bias": bool(
            text.get("attention_bias") or text.get("qkv_bias")
        ),
        "rope_scaling": _rope_scaling(text),
        "rope_scaling_layers": text.get("rope_scaling_layers"),
    }


def _named(config, name, meanings):
    """What a field's value, the first by default, means here."""
    value = config.get(name, next(iter(meanings)))
    if value not in meanings:
        raise ValueError(
            f"`{name}` of a Molmo2 config must be {' or '.join(meanings)}. "
            f"Received: {value!r}."
        )
    return meanings[value]


def _field(config, *names):
    for name in names:
        if config.get(name) is not None:
            return config[name]
    raise ValueError(
        f"A Molmo2 config must hold {' or '.join(names)}. Received: a config "
        f"with {', '.join(sorted(config))}."
    )


def _rope_scaling(text):
    """Type and numbers of a scaled rotary embedding, or None."""
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    if rope.get("rope_type", rope.get("type", "default")) == "default":
        return None
    return {name: rope[name] for name in rope if name != "rope_theta"}


def vision_token_ids(config, vocabulary):
    """Id of each vision token, by its name in `VISION_TOKENS`.

    From the vocabulary where there is one, else from the config, which names
    some; the rest stand in the published order around the placeholder.

    Raises:
        ValueError: If vocabulary and config differ in the placeholder.
    """
    patch = _field(config, *(ID_FIELDS["image_patch"], "image_token_id"))
    ids = {}
    for name, token in VISION_TOKENS.items():
        by_config = config.get(ID_FIELDS[name])
        if by_config is None:
            by_config = patch + ID_OFFSETS[name]
        ids[name] = vocabulary.get(token, by_config)
    if ids["image_patch"] != patch:
        raise ValueError(
            "Tokenizer and config of a checkpoint must agree on the "
            f"placeholder {VISION_TOKENS['image_patch']}. Received: id "
            f"{ids['image_patch']} in {TOKENIZER}, {patch} in the config."
        )
    return ids


def _video_processor(preset):
    if not hub.check_file_exists(preset, PROCESSOR):
        return VIDEO_PROCESSOR
    config = hub.load_json(preset, PROCESSOR).get("video_processor", {})
    return {**VIDEO_PROCESSOR, **config}


def _image_settings(preset):
    """How images are cut up, where a checkpoint says."""
    if not hub.check_file_exists(preset, PROCESSOR):
        return {}
    config = hub.load_json(preset, PROCESSOR).get("image_processor", {})
    given = {name: config.get(name, IMAGES[name]) for name in IMAGES}
    if given != IMAGES:
        raise ValueError(
            "`VideoVLM` cuts images up as Molmo2 does, with "
            f"{IMAGES}. Received: {given} in {PROCESSOR} of {preset}."
        )
    names = ("max_crops", "patch_size")
    return {name: config[name] for name in names if name in config}


def _vocabulary(preset):
    """Dict of token to id, or None without tokenizer."""
    if not hub.check_file_exists(preset, TOKENIZER):
        return None
    data = hub.load_json(preset, TOKENIZER)
    added = data.get("added_tokens", [])
    return {
        **data["model"]["vocab"],
        **{token["content"]: token["id"] for token in added},
    }


def load_tokenizer(preset, cls=VideoVLMTokenizer, **kwargs):
    with open(hub.get_file(preset, TOKENIZER), encoding="utf-8") as file:
        data = json.load(file)
    merges = [
        merge if isinstance(merge, str) else " ".join(merge)
        for merge in data["model"]["merges"]
    ]
    added = [token["content"] for token in data.get("added_tokens", [])]
    saved = {
        "unsplittable_tokens": added,
        "split_pattern": _split_pattern(data.get("pre_tokenizer")),
        "normalization": _normalization(data.get("normalizer")),
    }
    return cls(_vocabulary(preset), merges, **{**saved, **kwargs})


def _split_pattern(config):
    """The regular expression of a `pre_tokenizer`."""
    parts = config.get("pretokenizers", [config]) if config else []
    kinds = [part["type"] for part in parts]
    last = parts[-1] if parts else {}
    spaced = last.get("add_prefix_space")
    if kinds == ["ByteLevel"] and last.get("use_regex", True) and not spaced:
        return GPT2_SPLIT
    if kinds == ["Split", "ByteLevel"] and not spaced:
        pattern = parts[0]["pattern"].get("Regex")
        isolated = parts[0]["behavior"] == "Isolated"
        if pattern and isolated and not parts[0].get("invert"):
            return pattern
    raise ValueError(
        f"The `pre_tokenizer` of {TOKENIZER} must be byte-level, of GPT-2 or "
        f"with a regular expression. Received: {config}."
    )


def _normalization(config):
    if config is None or config["type"] == "NFC":
        return config and "NFC"
    raise ValueError(
        f"The `normalizer` of {TOKENIZER} must be NFC or none. Received: "
        f"{config}."
    )


def load_converter(preset, cls=VideoVLMVideoConverter, **kwargs):
    config = _video_processor(preset)
    size = config["size"]
    saved = {
        "image_size": (size["height"], size["width"]),
        "num_frames": config["num_frames"],
        "max_fps": config["max_fps"],
    }
    return cls(**{**saved, **kwargs})


def has_tokenizer(preset):
    return hub.check_file_exists(preset, TOKENIZER)


def load_preprocessor(preset, kwargs, converter=(), cls=VideoVLMPreprocessor):
    """The preprocessor with changed arguments, its converter's apart."""
    config = _video_processor(preset)
    side = config["size"]["height"] // config["patch_size"]
    blocks = -(-side // config["pooling_size"][0])
    saved = {"num_blocks": blocks**2, **_image_settings(preset)}
    if "chat_template" not in kwargs:
        template = chat_files.load(preset)
        if template is not None:
            saved["chat_template"] = template
    saved["special_tokens"] = chat_files.special_tokens(preset)
    parts = {**saved, **kwargs}
    if "tokenizer" not in parts:
        parts["tokenizer"] = load_tokenizer(preset)
    if "video_converter" not in parts:
        parts["video_converter"] = load_converter(preset, **dict(converter))
    return cls(**parts)
