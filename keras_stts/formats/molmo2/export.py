"""Writes a `VideoVLM` in the format that transformers reads."""

import json
import math
import pathlib

import keras_hub
import numpy as np
from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts.formats.checkpoint import WEIGHTS
from keras_stts.formats.checkpoint import WEIGHTS_INDEX
from keras_stts.formats.molmo2 import saved as molmo2_saved
from keras_stts.formats.molmo2.processor import SWITCHES
from keras_stts.formats.molmo2.weights import backbone_table
from keras_stts.formats.molmo2.weights import head_table
from keras_stts.formats.molmo2.weights import transformers_names
from keras_stts.models import sizes
from keras_stts.models.backbone_bounds import is_number
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS
from keras_stts.training.lora import adapted_name

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
# Samplers that transformers has, too.
SAMPLERS = (
    keras_hub.samplers.RandomSampler,
    keras_hub.samplers.TopKSampler,
    keras_hub.samplers.TopPSampler,
)


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
    if not is_number(max_shard_size, 1, math.inf):
        raise ValueError(
            "`max_shard_size` must be a number of bytes, 1 at least. Received: "
            f"max_shard_size={max_shard_size!r}."
        )
    _check_weights(model)
    directory = pathlib.Path(directory)
    generation, other = _generation(model)
    config = transformers_config(model.backbone)
    config[molmo2_saved.KEY] = molmo2_saved.collect(model, other)
    if model.preprocessor is not None:
        name = "use_frame_special_tokens"
        config[name] = getattr(model.preprocessor, name)
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", generation)
    table = {**backbone_table(model.backbone), **head_table(model)}
    names = {
        name: variable
        for keys, variables in table.items()
        for name, variable in zip(
            transformers_names(keys), variables, strict=True
        )
    }
    _write_weights(directory, names, max_shard_size, _adapted(model))
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
        **_renamed(backbone, TEXT),
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
            **_renamed(backbone, VISION),
            "model_type": "molmo2_vision",
            "image_size": [size, size],
        },
        "adapter_config": {
            **_renamed(backbone, ADAPTER),
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


def _check_weights(model):
    """Raise if a checkpoint cannot hold the weights."""
    layers = [x for x in hub.flatten_layers(model) if x.weights]
    for layer in layers:
        mode = getattr(layer, "quantization_mode", None)
        if mode is not None:
            raise ValueError(
                "A checkpoint of transformers holds weights of float32, "
                f"bfloat16 or float16. Received: {layer.path} of a model "
                f"quantized to {mode}. Export the model before it is "
                "quantized, or save it with `save_to_preset`."
            )


def _adapted(model):
    """Layers whose LoRA factors are to be merged, by their weights' ids."""
    return {
        id(hub.own_variable(layer, adapted_name(layer))): layer
        for layer in hub.flatten_layers(model)
        if getattr(layer, "lora_enabled", False)
    }


def _generation(model):
    """`generation_config.json`, and the config of a sampler it cannot hold."""
    config = {"max_new_tokens": model.max_new_tokens}
    preprocessor = model.preprocessor
    if preprocessor is not None:
        stops = preprocessor.stop_token_ids
        config["eos_token_id"] = stops[0] if len(stops) == 1 else stops
        config["pad_token_id"] = preprocessor.tokenizer.pad_token_id
        config["bos_token_id"] = preprocessor.tokenizer.start_token_id
    config = {name: config[name] for name in config if config[name] is not None}
    sampler = keras_hub.samplers.get(model.default_sampler)
    if type(sampler) is keras_hub.samplers.GreedySampler:
        return {**config, "do_sample": False}, None
    k, p = getattr(sampler, "k", None), getattr(sampler, "p", 1.0)
    drawn = {
        "do_sample": True,
        "temperature": sampler.temperature,
        "top_k": k or 0,
        "top_p": p,
    }
    if type(sampler) in SAMPLERS:
        return {**config, **drawn}, None
    return config, keras_hub.samplers.serialize(sampler)


def _renamed(backbone, names):
    values = {name: getattr(backbone, ours) for name, ours in names.items()}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def _write_weights(directory, names, max_shard_size, adapted):
    from safetensors.numpy import save_file

    shards = _shards(names, max_shard_size)
    files = [WEIGHTS]
    if len(shards) > 1:
        files = [
            f"model-{i:05}-of-{len(shards):05}.safetensors"
            for i in range(1, len(shards) + 1)
        ]
    places = {}
    for file, shard in zip(files, shards):
        arrays = {name: _array(names[name], adapted) for name in shard}
        save_file(arrays, directory / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    if len(files) > 1:
        total = sum(_size(variable) for variable in names.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        _write_json(directory / WEIGHTS_INDEX, index)


def _shards(names, max_shard_size):
    """Lists of names, in order, each with at most this number of bytes."""
    shards, size = [[]], 0
    for name, variable in names.items():
        if shards[-1] and size + _size(variable) > max_shard_size:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += _size(variable)
    return shards


def _size(variable):
    bits = 16 if "16" in variable.dtype else 32
    return int(np.prod(variable.shape)) * bits // 8


def _array(variable, adapted):
    """In torch's layout."""
    layer = adapted.get(id(variable))
    value = variable if layer is None else getattr(layer, adapted_name(layer))
    array = np.asarray(ops.convert_to_numpy(value))
    if variable.name == "kernel":
        array = array.T
    if variable.dtype == "bfloat16" and array.dtype != "bfloat16":
        array = array.astype("bfloat16")  # It is float32 under PyTorch.
    return np.ascontiguousarray(array)


def _write_json(path, data):
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


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
    _write_json(directory / "processor_config.json", config)
    template = preprocessor.chat_template
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    _write_tokenizer(directory, preprocessor)


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


def _write_tokenizer(directory, preprocessor):
    tokenizer, path = preprocessor.tokenizer, directory / "tokenizer.json"
    tokenizer.save_tokenizers_file(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    special = {tokenizer.id_to_token(i) for i in tokenizer.special_token_ids}
    for token in data["added_tokens"]:
        token["special"] = token["content"] in special
    _write_json(path, data)
    config = {
        **preprocessor.special_tokens,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.start_token,
        "eos_token": tokenizer.end_token,
        "pad_token": tokenizer.pad_token,
        "additional_special_tokens": sorted(special),
        "clean_up_tokenization_spaces": False,
    }
    _write_json(directory / "tokenizer_config.json", config)
