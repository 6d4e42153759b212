"""Settings of generation in a Molmo2 checkpoint: sampling and end tokens."""

import keras_hub

from keras_stts.formats.molmo2 import config as molmo2_config
from keras_stts.formats.molmo2 import fields as fields

FILE = "generation_config.json"


def load(
    preset,
    config,
    vocabulary_size,
    stop_token_ids=molmo2_config.stop_token_ids,
):
    """Settings of generation, with transformers' defaults.

    Args:
        preset: Str. Handle or directory.
        config: Dict, the checkpoint's `config.json`.
        vocabulary_size: Int.
        stop_token_ids: Function of config and preset that returns the ids
            that end an answer if `generation_config.json` has none.

    Returns:
        Tuple (arguments of `VideoVLM`, list of ids at which an answer ends
        or `None`).

    Raises:
        ValueError: If a field or its value is unknown.
    """
    where = f"{FILE} of {preset}"
    values = fields.read_file(preset, FILE)
    if values is None:
        values = fields.parse({}, FILE, preset=preset)
    stops = values["stop_token_ids"]
    if stops is None:
        stops = stop_token_ids(config, preset)
    stops = [stops] if isinstance(stops, int) else stops
    fields.require(
        all(0 <= i < vocabulary_size for i in stops or []),
        f"be ids that can be generated, below {vocabulary_size}",
        "eos_token_id",
        stops,
        where,
    )
    most = values["max_new_tokens"]
    fields.require(
        most is None or most > 0, "be positive", "max_new_tokens", most, where
    )
    sampler = _sampler(values, vocabulary_size, where)
    return {"sampler": sampler, "max_new_tokens": most}, stops


def _sampler(values, vocabulary_size, where):
    if not values["do_sample"]:
        return "greedy"
    rules = {
        "temperature": (values["temperature"] > 0, "be positive"),
        "top_k": (values["top_k"] >= 0, "not be negative"),
        "top_p": (0 < values["top_p"] <= 1, "be above 0, and 1 at most"),
    }
    for name, (good, rule) in rules.items():
        fields.require(good, rule, name, values[name], where)
    temperature = values["temperature"]
    k = min(values["top_k"], vocabulary_size) or None
    if values["top_p"] < 1:
        return keras_hub.samplers.TopPSampler(
            p=values["top_p"], k=k, temperature=temperature
        )
    if k is None:
        return keras_hub.samplers.RandomSampler(temperature=temperature)
    return keras_hub.samplers.TopKSampler(k=k, temperature=temperature)
