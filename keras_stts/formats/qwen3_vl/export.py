"""Writes a `VideoVLM` in the format that transformers reads."""

import pathlib

import numpy as np

from keras_stts.formats import saved
from keras_stts.formats import writing
from keras_stts.formats.qwen3_vl import saved as qwen_saved
from keras_stts.formats.qwen3_vl.processor import IMAGES
from keras_stts.formats.qwen3_vl.processor import NORMALIZATION
from keras_stts.formats.qwen3_vl.processor import VIDEOS
from keras_stts.formats.qwen3_vl.weights import EMBEDDING
from keras_stts.formats.qwen3_vl.weights import HEAD
from keras_stts.formats.qwen3_vl.weights import PATCHES
from keras_stts.formats.qwen3_vl.weights import backbone_table
from keras_stts.formats.qwen3_vl.weights import head_table
from keras_stts.formats.qwen3_vl.weights import scorer_table
from keras_stts.language.language_model import LanguageModel
from keras_stts.preprocessing.qwen3_vl.tokenizer import VISION_TOKENS
from keras_stts.towers.qwen3_vl_connector import Qwen3VLConnector

# Names of transformers' config for arguments of the parts.
VISION = {
    "depth": "num_layers",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
    "num_heads": "num_heads",
    "hidden_act": "activation",
    "patch_size": "patch_size",
    "temporal_patch_size": "temporal_patch_size",
    "spatial_merge_size": "window",
    "deepstack_visual_indexes": "deepstack_layers",
}
TEXT = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "intermediate_size": "intermediate_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_query_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "rms_norm_eps": "layer_norm_epsilon",
    "hidden_act": "activation",
    "attention_bias": "attention_bias",
}
# What Qwen3-VL has no field for.
FIXED: dict = {
    "vision_encoder": {
        "layer_norm_epsilon": 1e-6,
        "pixel_mean": 0.5,
        "pixel_std": 0.5,
    },
    "connector": {"layer_norm_epsilon": 1e-6},
    "language_model": {
        "additional_vocabulary_size": 0,
        "norm_after": False,
        "query_key_norm": "head",
        "rope_scaling": None,
    },
}
CLASSES = {"connector": Qwen3VLConnector, "language_model": LanguageModel}
MODEL = "Qwen3VLForConditionalGeneration"
PROCESSOR = "Qwen3VLProcessor"


def export(model, directory, max_shard_size):
    """Write config, weights and, if there is one, the preprocessor.

    Args:
        model: A `VideoVLM`.
        directory: Path, created if it is missing.
        max_shard_size: Int. Largest number of bytes of weights in a file; a
            larger weight gets a file of its own.

    Raises:
        ValueError: If the model is not of Qwen3-VL's architecture, or is
            quantized, or if the size is not a positive number.
    """
    writing.check(model, max_shard_size)
    _check_parts(model.backbone)
    _check_tokens(model)
    directory = pathlib.Path(directory)
    generation, other = writing.generation(model, start=_starts(model))
    tensors = _tensors(model)
    tied = HEAD not in tensors
    config = transformers_config(model.backbone, tied=tied)
    if model.preprocessor is not None:
        config |= _marks(model.preprocessor.tokenizer)
    config[saved.KEY] = qwen_saved.collect(model, other)
    directory.mkdir(parents=True, exist_ok=True)
    writing.write_json(directory / "config.json", config)
    writing.write_json(directory / "generation_config.json", generation)
    writing.write_weights(directory, tensors, max_shard_size)
    if model.preprocessor is not None:
        _write_processor(directory, model.preprocessor.video_converter)
        start = _starts(model)
        writing.write_texts(directory, model.preprocessor, start=start)


def transformers_config(backbone, *, tied):
    """`config.json` of a backbone.

    Args:
        backbone: A `VideoVLMBackbone`.
        tied: Bool. Whether the output head is the token embedding.
    """
    vision, text = (
        part.get_config()
        for part in (backbone.vision_encoder, backbone.language_model)
    )
    return {
        "model_type": "qwen3_vl",
        "architectures": [MODEL],
        "dtype": backbone.dtype_policy.variable_dtype,
        "vision_config": {
            **{name: _plain(vision[ours]) for name, ours in VISION.items()},
            "model_type": "qwen3_vl_vision",
            "in_channels": 3,
            "num_position_embeddings": vision["position_side"] ** 2,
            "out_hidden_size": backbone.connector.output_dim,
        },
        "text_config": {
            **{name: _plain(text[ours]) for name, ours in TEXT.items()},
            "model_type": "qwen3_vl_text",
            # As of the published models; no code of theirs depends on it.
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": float(text["rope_max_wavelength"]),
                "mrope_section": _plain(text["rope_sections"]),
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": tied,
        },
        "image_token_id": backbone.image_patch_id,
        "video_token_id": backbone.video_patch_id,
        "tie_word_embeddings": tied,
    }


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def _check_parts(backbone):
    for part, cls in CLASSES.items():
        layer = getattr(backbone, part)
        if not isinstance(layer, cls):
            _refuse(f"a {part} of {cls.__name__}", type(layer).__name__)
    for part, wanted in FIXED.items():
        config = getattr(backbone, part).get_config()
        for name, value in wanted.items():
            if config[name] != value:
                _refuse(f"{part}.{name}={value!r}", repr(config[name]))
    sections = backbone.language_model.rope_sections
    if sections is None:
        _refuse("`rope_sections` in its language model", "none")
    if backbone.video_patch_id is None:
        _refuse("a `video_patch_id`", "none")


def _refuse(rule, received):
    raise ValueError(
        f"A Qwen3-VL that transformers can load has {rule}. Received: "
        f"{received}. Use `save_to_preset`."
    )


def _check_tokens(model):
    """Raise unless texts have the tokens that the model looks for."""
    if model.preprocessor is None:
        return
    tokenizer, backbone = model.preprocessor.tokenizer, model.backbone
    wanted = {
        "image_pad": backbone.image_patch_id,
        "video_pad": backbone.video_patch_id,
    }
    for name, index in wanted.items():
        found = getattr(tokenizer, f"{name}_token_id")
        if found != index:
            token = VISION_TOKENS[name]
            _refuse(f"the id {index} of {token} in its tokenizer", found)


def _marks(tokenizer):
    """Ids of the tokens around images and frames."""
    names = ("vision_start", "vision_end")
    return {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
        for name in names
    }


def _starts(model):
    """Whether the tokenizer's files name a token that begins texts."""
    preprocessor = model.preprocessor
    return preprocessor is not None and (
        "bos_token" in preprocessor.special_tokens
    )


def _tensors(model):
    """All tensors by name; no head if it is the token embedding."""
    adapted, backbone = writing.adapted(model), model.backbone
    vision = backbone.vision_encoder
    patch = (3, vision.temporal_patch_size, *[vision.patch_size] * 2)
    shapes = {PATCHES: (vision.hidden_dim, *patch)}
    table = {
        **backbone_table(backbone),
        **scorer_table(backbone),
    }
    if not backbone.language_model.tie_embeddings:
        table |= head_table(model, tied=False)
    tensors = {
        name: writing.Tensor(variables, adapted, shapes.get(name))
        for (name,), variables in table.items()
    }
    if HEAD in tensors and _is_same(tensors[EMBEDDING], tensors[HEAD]):
        del tensors[HEAD]
    return tensors


def _is_same(one, other):
    one, other = one.array(), other.array()
    return one.dtype == other.dtype and np.array_equal(one, other)


def _write_processor(directory, converter):
    least, most = converter.image_min_pixels, converter.image_max_pixels
    image = {
        **_pixels(converter, least, most),
        "image_processor_type": "Qwen2VLImageProcessorFast",
    }
    blocks = converter.max_frame_blocks
    video = {
        **_pixels(converter, converter.min_pixels, converter.max_pixels),
        "video_processor_type": "Qwen3VLVideoProcessor",
        "do_sample_frames": True,
        "fps": converter.max_fps,
        "min_frames": 4,
        # Of a model without videos; see `saved`.
        "max_frames": converter.num_frames or 768,
        "cap_pixels_per_frame": blocks is not None,
    }
    if blocks is not None:
        video["max_video_tokens"] = blocks
    writing.write_json(directory / IMAGES, image)
    writing.write_json(directory / VIDEOS, video)


def _pixels(converter, least, most):
    return {
        **NORMALIZATION,
        "processor_class": PROCESSOR,
        "do_convert_rgb": True,
        "do_resize": True,
        "merge_size": converter.merge_size,
        "patch_size": converter.patch_size,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": most, "shortest_edge": least},
        "temporal_patch_size": converter.temporal_patch_size,
    }
