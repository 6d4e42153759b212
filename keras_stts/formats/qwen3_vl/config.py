"""Sizes of a model from the `config.json` of a Qwen3-VL checkpoint."""

import math

from keras_stts.formats import fields
from keras_stts.formats.part import FILE
from keras_stts.formats.part import Part
from keras_stts.formats.qwen3_vl.settings import TABLES
from keras_stts.layers.activations import get_activation

# Of a config that does not tell, as in transformers.
SECTIONS = [24, 20, 20]


def model_config(config, preset="a checkpoint"):
    """Sizes of the parts of a model.

    Args:
        config: Dict, `config.json` of transformers.
        preset: Str, what errors call the checkpoint.

    Returns:
        Dict of arguments by flat names: those of the vision encoder begin
        with `vision_`, of the connector with `connector_`; beside those of
        the language model are `tie_embeddings`, `image_token_id` and
        `video_token_id`.

    Raises:
        ValueError: If a field is missing or unknown, or such a model is not
            supported.
    """
    top = fields.parse(config, FILE, preset=preset, tables=TABLES)
    vision = Part(top["vision_config"], "vision_config", preset, TABLES)
    text = Part(top["text_config"], "text_config", preset, TABLES)
    width = vision["connector_output_dim"] == text["hidden_dim"]
    vision.require(
        "connector_output_dim", width, "be `text_config.hidden_size`"
    )
    layers = len(vision["vision_deepstack_layers"]) <= text["num_layers"]
    rule = "be no more than `text_config.num_hidden_layers`"
    vision.require("vision_deepstack_layers", layers, rule)
    tied = text["tie_embeddings"] in (None, top["tie_embeddings"])
    text.require("tie_embeddings", tied, "be that of the whole model")
    ids = {name: top[name] for name in ("image_token_id", "video_token_id")}
    for name, index in ids.items():
        fields.require(
            0 <= index < text["vocabulary_size"],
            "be in the vocabulary",
            name,
            index,
            f"{FILE} of {preset}",
        )
    return {
        **_vision(vision),
        **_text(text),
        **ids,
        "tie_embeddings": top["tie_embeddings"],
    }


def stop_token_ids(config, preset="a checkpoint"):
    """Ids that end an answer if no other file has them, or `None`."""
    top = fields.parse(config, FILE, preset=preset, tables=TABLES)
    text = Part(top["text_config"], "text_config", preset, TABLES)
    return top["stop_token_ids"] or text["stop_token_ids"]


def special_token_ids(config, preset="a checkpoint"):
    """Dict of names in `VISION_TOKENS` to the ids that a config tells."""
    top = fields.parse(config, FILE, preset=preset, tables=TABLES)
    return {
        "vision_start": top["vision_start"],
        "vision_end": top["vision_end"],
        "image_pad": top["image_token_id"],
        "video_pad": top["video_token_id"],
    }


def _vision(vision):
    sizes = ("vision_num_layers", "vision_patch_size", "vision_window")
    sizes += ("vision_num_heads", "vision_temporal_patch_size", "num_positions")
    for name in sizes:
        vision.require(name, vision[name] > 0, "be positive")
    side = math.isqrt(vision["num_positions"])
    square = side**2 == vision["num_positions"]
    vision.require("num_positions", square, "be a square")
    _check_whole(vision, "vision_hidden_dim", "vision_num_heads", 4)
    layers, depth = (
        vision["vision_deepstack_layers"],
        vision["vision_num_layers"],
    )
    good = all(0 <= layer < depth for layer in layers)
    good = good and layers == sorted(set(layers))
    rule = f"rise, and be of the {depth} layers"
    vision.require("vision_deepstack_layers", good, rule)
    name = "vision_activation"
    vision.check(name, get_activation, vision[name])
    return {**vision.without("num_positions"), "vision_position_side": side}


def _check_whole(part, width, heads, factor):
    """Raise unless heads have a width that is a multiple of `factor`."""
    good = part[width] > 0 and part[width] % (factor * part[heads]) == 0
    rule = f"be a multiple of {factor} times `{part.name_of(heads)}`"
    part.require(width, good, rule)


def _text(text):
    text.check("activation", get_activation, text["activation"])
    names = ("num_layers", "num_query_heads", "num_key_value_heads")
    for name in names:
        text.require(name, text[name] > 0, "be positive")
    good = text["num_query_heads"] % text["num_key_value_heads"] == 0
    text.require("num_key_value_heads", good, "divide `num_attention_heads`")
    wavelength, sections = _rope(text)
    names = ("rope_parameters", "rope_scaling", "rope_theta")
    return {
        **text.without(*names, "stop_token_ids", "tie_embeddings"),
        "rope_max_wavelength": wavelength,
        "rope_sections": sections,
    }


def _rope(text):
    """Wavelength of the rotary embedding, and its sections."""
    new, old = text["rope_parameters"], text["rope_scaling"]
    good = not (new and old) or new == old
    text.require("rope_parameters", good, "agree with `rope_scaling`")
    name, rope = "rope_parameters" if new else "rope_scaling", new or old or {}
    rope = dict(rope)
    inner, outer = rope.pop("rope_theta", None), text["rope_theta"]
    same = None in (inner, outer) or inner == outer
    text.require("rope_theta", same, "be that of `rope_parameters`")
    wavelength = outer if inner is None else inner
    number, _ = fields.TYPES["number"]
    good = number(wavelength) and 1 < wavelength <= 1e15
    rule = "have a `rope_theta` above 1, up to 1e15"
    text.require("rope_theta" if inner is None else name, good, rule)
    kinds = {rope.pop(key, None) for key in ("type", "rope_type")}
    good = kinds <= {None, "default", "mrope"}
    text.require(name, good, "be of the type default: none other is known")
    good = rope.pop("mrope_interleaved", None) in (None, True)
    text.require(name, good, "have `mrope_interleaved`")
    good = rope.pop("partial_rotary_factor", None) in (None, 1)
    text.require(name, good, "have a `partial_rotary_factor` of 1")
    sections = rope.pop("mrope_section", SECTIONS)
    text.require(name, not rope, f"be without {', '.join(rope)}, not known")
    ints, _ = fields.TYPES["ints"]
    good = ints(sections) and len(sections) == 3 and min(sections) > 0
    good = good and 2 * sum(sections) == text["head_dim"]
    rule = "have an `mrope_section` of three, half of `head_dim` together"
    text.require(name, good, rule)
    return wavelength, sections
