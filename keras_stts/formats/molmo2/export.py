"""Writes a `VideoVLM` in the format that transformers reads."""

import pathlib

from keras_stts.formats import saved
from keras_stts.formats import writing
from keras_stts.formats.molmo2 import saved as molmo2_saved
from keras_stts.formats.molmo2.processor import SWITCHES
from keras_stts.formats.molmo2.weights import backbone_table
from keras_stts.formats.molmo2.weights import head_table
from keras_stts.formats.molmo2.weights import transformers_names
from keras_stts.models import sizes
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS

# Names of transformers' config for arguments of `VideoVLMBackbone`.
VISION = {
    "hidden_size": "vision_hidden_dim",
    "intermediate_size": "vision_intermediate_dim",
    "num_hidden_layers": "vision_num_layers",
    "num_attention_heads": "vision_num_heads",
    "num_key_value_heads": "vision_num_heads",
    "head_dim": "vision_head_dim",
    "hidden_act": "vision_activation",
    "layer_norm_eps": "vision_layer_norm_epsilon",
    "patch_size": "patch_size",
}
ADAPTER = {
    "vision_feature_layer": "vision_feature_layers",
    "hidden_size": "connector_hidden_dim",
    "num_attention_heads": "connector_num_heads",
    "num_key_value_heads": "connector_num_heads",
    "head_dim": "connector_head_dim",
    "hidden_act": "connector_activation",
    "intermediate_size": "connector_intermediate_dim",
    "text_hidden_size": "hidden_dim",
}
TEXT = {
    "vocab_size": "vocabulary_size",
    "additional_vocab_size": "additional_vocabulary_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "hidden_dim",
    "num_attention_heads": "num_query_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_dim",
    "rms_norm_eps": "layer_norm_epsilon",
    "hidden_act": "activation",
    "norm_after": "norm_after",
    "attention_bias": "attention_bias",
    "rope_scaling_layers": "rope_scaling_layers",
}


def export(model, directory, max_shard_size=5_000_000_000):
    """Write config, weights and, if there is one, the tokenizer.

    Args:
        model: A `VideoVLM`.
        directory: Path, created if it is missing.
        max_shard_size: Int. Largest number of bytes of weights in a file; a
            larger weight gets a file of its own.

    Raises:
        ValueError: If the model is not of Molmo2's architecture, or is
            quantized, or if the size is not a positive number.
    """
    writing.check(model, max_shard_size)
    directory = pathlib.Path(directory)
    generation, other = writing.generation(model)
    config = transformers_config(model.backbone)
    config[saved.KEY] = molmo2_saved.collect(model, other)
    if model.preprocessor is not None:
        name = "use_frame_special_tokens"
        config[name] = getattr(model.preprocessor, name)
    directory.mkdir(parents=True, exist_ok=True)
    writing.write_json(directory / "config.json", config)
    writing.write_json(directory / "generation_config.json", generation)
    table = {**backbone_table(model.backbone), **head_table(model)}
    adapted = writing.adapted(model)
    tensors = {
        name: writing.Tensor([variable], adapted)
        for keys, variables in table.items()
        for name, variable in zip(
            transformers_names(keys), variables, strict=True
        )
    }
    writing.write_weights(directory, tensors, max_shard_size)
    if model.preprocessor is not None:
        _write_processor(directory, model.preprocessor, model.backbone)


def transformers_config(backbone):
    """`config.json` of a backbone, with its pruning beside."""
    dtype, backbone = backbone.dtype_policy, sizes.named(backbone)
    ids = backbone.vision_token_ids
    if len(ids) != len(VISION_TOKENS):
        raise ValueError(
            "A model that transformers can load has the vision tokens "
            f"{', '.join(VISION_TOKENS)}. Received: {len(ids)} of them."
        )
    ids = dict(zip(VISION_TOKENS, ids))
    rope = backbone.rope_scaling or {"rope_type": "default"}
    norms = {"head": "qwen3", "all": "olmo"}
    text = {
        **writing.renamed(backbone, TEXT),
        "model_type": "molmo2_text",
        "qk_norm_type": norms[backbone.query_key_norm],
        "rope_parameters": {
            **rope,
            "rope_theta": float(backbone.rope_max_wavelength),
        },
        "max_position_embeddings": 36864,
    }
    size = backbone.image_size
    return {
        "model_type": "molmo2",
        "architectures": ["Molmo2ForConditionalGeneration"],
        "dtype": dtype.variable_dtype,
        "vision_config": {
            **writing.renamed(backbone, VISION),
            "model_type": "molmo2_vision",
            "image_size": [size, size],
        },
        "adapter_config": {
            **writing.renamed(backbone, ADAPTER),
            "model_type": "molmo2_adapter",
        },
        "text_config": text,
        "image_patch_id": ids["image_patch"],
        "image_start_token_id": ids["image_start"],
        "image_end_token_id": ids["image_end"],
        "low_res_image_start_token_id": ids["low_res_image_start"],
        "frame_start_token_id": ids["frame_start"],
        "frame_end_token_id": ids["frame_end"],
        # transformers has no use for these, the published code has.
        "image_col_id": ids["image_col"],
        "image_low_res_id": ids["image_low"],
        "tie_word_embeddings": False,
    }


def _write_processor(directory, preprocessor, backbone):
    backbone = sizes.named(backbone)
    config = {
        "processor_class": "Molmo2Processor",
        "image_processor": {
            **_pixels(backbone),
            "image_processor_type": "Molmo2ImageProcessor",
            "max_crops": preprocessor.max_crops,
            "overlap_margins": [4, 4],
            "pooling_size": [2, 2],
        },
        "video_processor": {
            **_pixels(backbone),
            **_sampling(preprocessor.video_converter),
            "video_processor_type": "Molmo2VideoProcessor",
            "pooling_size": [backbone.window] * 2,
        },
        **{name: getattr(preprocessor, name) for name in SWITCHES},
        "use_frame_special_tokens": preprocessor.use_frame_special_tokens,
    }
    writing.write_json(directory / "processor_config.json", config)
    writing.write_texts(directory, preprocessor)


def _pixels(backbone):
    size = backbone.image_size
    mean, std = (
        list(value) if isinstance(value, (list, tuple)) else [value] * 3
        for value in (backbone.pixel_mean, backbone.pixel_std)
    )
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": mean,
        "image_std": std,
        "patch_size": backbone.patch_size,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }


def _sampling(converter):
    """The sampling of frames, if the published processor has it."""
    sampling = {
        "do_sample_frames": converter.sampling != "all",
        "max_fps": converter.max_fps,
        "num_frames": converter.num_frames,
    }
    if converter.sampling == "molmo2":
        sampling["frame_sample_mode"] = "uniform_last_frame"
    return sampling
