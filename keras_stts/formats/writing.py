"""Writes what the checkpoints of all families share, as transformers reads it.

Weights, settings of generation and the tokenizer.
"""

import json
import math

import keras_hub
import numpy as np
from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts.formats.checkpoint import WEIGHTS
from keras_stts.formats.checkpoint import WEIGHTS_INDEX
from keras_stts.models.backbone_bounds import is_number
from keras_stts.training.lora import adapted_name

# Samplers that transformers has, too.
SAMPLERS = (
    keras_hub.samplers.RandomSampler,
    keras_hub.samplers.TopKSampler,
    keras_hub.samplers.TopPSampler,
)


def check(model, max_shard_size):
    """Raise if a checkpoint cannot hold the weights of a model.

    Args:
        model: A `VideoVLM`.
        max_shard_size: Int, see `write_weights`.

    Raises:
        ValueError: If it is quantized, or the size no positive number.
    """
    if not is_number(max_shard_size, 1, math.inf):
        raise ValueError(
            "`max_shard_size` must be a number of bytes, 1 at least. Received: "
            f"max_shard_size={max_shard_size!r}."
        )
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


def generation(model, *, start=True):
    """`generation_config.json`, and the config of a sampler it cannot hold.

    Args:
        model: A `VideoVLM`.
        start: Bool. Whether a token begins its sequences.
    """
    config = {"max_new_tokens": model.max_new_tokens}
    preprocessor = model.preprocessor
    if preprocessor is not None:
        stops = preprocessor.stop_token_ids
        config["eos_token_id"] = stops[0] if len(stops) == 1 else stops
        config["pad_token_id"] = preprocessor.tokenizer.pad_token_id
        if start:
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


def renamed(sizes, names):
    """Fields of a config.

    Args:
        sizes: Object whose attributes are arguments of a model.
        names: Dict of field to attribute.

    Returns:
        Dict of JSON, without what is `None`.
    """
    values = {name: getattr(sizes, ours) for name, ours in names.items()}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def write_weights(directory, tensors, max_shard_size):
    """Write safetensors files, and an index if there are several.

    Args:
        directory: `pathlib.Path`.
        tensors: Dict of name to `Tensor`.
        max_shard_size: Int. Most bytes of a file; a larger tensor gets a file
            of its own.
    """
    from safetensors.numpy import save_file

    shards = _shards(tensors, max_shard_size)
    files = [WEIGHTS]
    if len(shards) > 1:
        files = [
            f"model-{i:05}-of-{len(shards):05}.safetensors"
            for i in range(1, len(shards) + 1)
        ]
    places = {}
    for file, shard in zip(files, shards):
        arrays = {name: tensors[name].array() for name in shard}
        save_file(arrays, directory / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    if len(files) > 1:
        total = sum(tensor.num_bytes for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_json(directory / WEIGHTS_INDEX, index)


class Tensor:
    """One of a checkpoint, made of a model's variables when it is written.

    Args:
        variables: List of variables, joined along the first axis.
        adapted: Dict, see `adapted`.
        shape: Optional ints, of the tensor. Defaults to that of the
            variables.
    """

    def __init__(self, variables, adapted, shape=None):
        self.variables, self.adapted, self.shape = variables, adapted, shape

    @property
    def num_bytes(self):
        return sum(
            int(np.prod(variable.shape)) * _bits(variable) // 8
            for variable in self.variables
        )

    def array(self):
        """In torch's layout."""
        arrays = [self._array_of(variable) for variable in self.variables]
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        if self.shape is not None:
            array = array.reshape(self.shape)
        return np.ascontiguousarray(array)

    def _array_of(self, variable):
        layer = self.adapted.get(id(variable))
        value = variable
        if layer is not None:
            value = getattr(layer, adapted_name(layer))
        array = np.asarray(ops.convert_to_numpy(value))
        if variable.name == "kernel":
            array = array.T
        if variable.dtype == "bfloat16" and array.dtype != "bfloat16":
            array = array.astype("bfloat16")  # It is float32 under PyTorch.
        return array


def adapted(model):
    """Layers whose LoRA factors are to be merged, by their weights' ids."""
    return {
        id(hub.own_variable(layer, adapted_name(layer))): layer
        for layer in hub.flatten_layers(model)
        if getattr(layer, "lora_enabled", False)
    }


def _shards(tensors, max_shard_size):
    """Lists of names, in order, each with at most this number of bytes."""
    shards, size = [[]], 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.num_bytes > max_shard_size:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.num_bytes
    return shards


def _bits(variable):
    return 16 if "16" in variable.dtype else 32


def write_json(path, data):
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_texts(directory, preprocessor, *, start=True):
    """Write the tokenizer and the chat template of a preprocessor.

    Args:
        directory: `pathlib.Path`.
        preprocessor: A `ChatPreprocessor`.
        start: Bool. Whether a token begins its sequences.
    """
    template = preprocessor.chat_template
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer, path = preprocessor.tokenizer, directory / "tokenizer.json"
    tokenizer.save_tokenizers_file(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    special = {tokenizer.id_to_token(i) for i in tokenizer.special_token_ids}
    for token in data["added_tokens"]:
        token["special"] = token["content"] in special
    write_json(path, data)
    config = {
        **preprocessor.special_tokens,
        "tokenizer_class": "PreTrainedTokenizerFast",
        **({"bos_token": tokenizer.start_token} if start else {}),
        "eos_token": tokenizer.end_token,
        "pad_token": tokenizer.pad_token,
        "additional_special_tokens": sorted(special),
        "clean_up_tokenization_spaces": False,
    }
    write_json(directory / "tokenizer_config.json", config)
