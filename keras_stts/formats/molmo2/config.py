"""Arguments of a backbone from the `config.json` of a Molmo2 checkpoint."""

from keras_stts.formats.molmo2 import fields as fields
from keras_stts.formats.molmo2.settings import TABLES
from keras_stts.formats.part import Part
from keras_stts.language.rope import frequencies
from keras_stts.layers.activations import get_activation
from keras_stts.models import backbone_bounds as bounds
from keras_stts.preprocessing.video_vlm_tokenizer import VISION_TOKENS

FILE = "config.json"
# Distances of the published ids from that of the placeholder.
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
NORMS = {"qwen3": "head", "olmo": "all"}
# Types of rotary embeddings with the context length of the training.
KNOW_LENGTH = ("llama3", "longrope", "yarn")


def backbone_config(config, vocabulary=None, preset="a checkpoint"):
    """Arguments of `VideoVLMBackbone`, except those of its processor.

    Args:
        config: Dict, `config.json` of the authors or of transformers.
        vocabulary: Optional dict of token to id.
        preset: Str, what errors call the checkpoint.

    Raises:
        ValueError: If a field is missing or unknown, or `VideoVLMBackbone`
            does not support such a model.
    """
    top = fields.parse(config, FILE, preset=preset)
    where = f"{FILE} of {preset}"
    name = "vision_config" if config.get("vision_config") else "vit_config"
    vision = Part(top["vision_config"], name, preset, TABLES)
    adapter = Part(top["adapter_config"], "adapter_config", preset, TABLES)
    text = Part(top["text_config"], "text_config", preset, TABLES)
    ids = vision_token_ids(config, top, vocabulary or {}, where)
    adapter.require(
        "text_hidden_size",
        adapter["text_hidden_size"] in (None, text["hidden_dim"]),
        "be `text_config.hidden_size`",
    )
    return {
        **_vision(vision),
        **_adapter(adapter, vision),
        **_text(text),
        "image_patch_id": ids["image_patch"],
        "vision_token_ids": list(ids.values()),
    }


def stop_token_ids(config, preset="a checkpoint"):
    """Ids that end an answer if no other file has them, or `None`."""
    top = fields.parse(config, FILE, preset=preset)
    text = fields.parse(top["text_config"], FILE, "text_config", preset)
    return top["stop_token_ids"] or text["stop_token_ids"]


def _vision(vision):
    sides, (least, most) = vision["image_size"], bounds.INTS["image_size"]
    square = len(sides) == 2 and least <= sides[0] == sides[1] <= most
    rule = f"be two equal sides from {least:,} to {most:,}"
    vision.require("image_size", square, rule)
    height = sides[0]
    side = height // vision["patch_size"]
    good = vision["num_positions"] in (None, side**2)
    vision.require(
        "num_positions", good, f"be the number of patches, {side**2}"
    )
    _check_heads(vision, "vision_num_heads")
    name = "vision_activation"
    vision.check(name, get_activation, vision[name])
    return {
        **vision.without("num_positions", "num_key_value_heads"),
        "image_size": height,
    }


def _check_heads(part, argument):
    """Check that vision parts have as many key-value heads as query heads."""
    name = "num_key_value_heads"
    good = part[name] in (None, part[argument])
    part.require(name, good, "be `num_attention_heads`")


def _adapter(adapter, vision):
    _check_heads(adapter, "connector_num_heads")
    layers = adapter["vision_feature_layers"]
    depth = vision["vision_num_layers"]
    good = layers and all(-depth <= layer < depth for layer in layers)
    rule = f"be of the {depth} layers of `{vision.section}`"
    adapter.require("vision_feature_layers", good, rule)
    name = "connector_activation"
    adapter.check(name, get_activation, adapter[name])
    layers = [layer % depth for layer in layers]
    return {
        **adapter.without("text_hidden_size", "num_key_value_heads"),
        "vision_feature_layers": layers,
        # Layers above the last feature are never run.
        "vision_num_layers": max(layers) + 1,
    }


def _text(text):
    norm = text["query_key_norm"]
    good = norm in NORMS
    text.require("query_key_norm", good, f"be {' or '.join(NORMS)}")
    text.check("activation", get_activation, text["activation"])
    wavelength, scaling = _rope(text)
    names = ("rope_parameters", "rope_scaling", "rope_theta", "max_positions")
    names += ("original_max_positions", "stop_token_ids")
    return {
        **text.without(*names),
        "query_key_norm": NORMS[norm],
        "rope_max_wavelength": wavelength,
        "rope_scaling": scaling,
    }


def _rope(text):
    """Wavelength of a rotary embedding, with type and fields of a scaling."""
    new, old = text["rope_parameters"], text["rope_scaling"]
    good = not (new and old) or new == old
    text.require("rope_parameters", good, "agree with `rope_scaling`")
    name, rope = "rope_parameters" if new else "rope_scaling", new or old or {}
    rope, outer = dict(rope), text["rope_theta"]
    inner = rope.pop("rope_theta", None)
    good = None in (inner, outer) or inner == outer
    text.require("rope_theta", good, "be that of `rope_parameters`")
    wavelength = outer if inner is None else inner
    number, _ = fields.TYPES["number"]
    least, most = bounds.NUMBERS["rope_max_wavelength"]
    good = number(wavelength) and least < wavelength <= most
    rule = f"have a `rope_theta` above {least:,} and up to {most:,}"
    text.require("rope_theta" if inner is None else name, good, rule)
    kind = rope.pop("type", "default")
    kind = rope.pop("rope_type", None) or kind
    good = rope.pop("partial_rotary_factor", None) in (None, 1)
    text.require(name, good, "have a `partial_rotary_factor` of 1")
    if kind == "default":
        return wavelength, None
    if kind in KNOW_LENGTH:
        _tell_length(rope, kind, text)
    scaling = {"rope_type": kind, **rope}
    text.check(name, frequencies, 2, wavelength, scaling)
    return wavelength, scaling


def _tell_length(rope, kind, text):
    """Add the context length of the training, and YaRN's factor, if missing.

    A length beside the fields of the embedding precedes one among them.
    """
    beside = text["original_max_positions"]
    among = rope.get("original_max_position_embeddings")
    length = beside or among or text["max_positions"]
    rope["original_max_position_embeddings"] = length
    if kind in ("yarn", "longrope") and rope.get("factor") is None:
        rope["factor"] = text["max_positions"] / length


def vision_token_ids(config, top, vocabulary, where=FILE):
    """Id of each vision token, by its name in `VISION_TOKENS`.

    Ids come from the vocabulary. Without one, some are in the config, and the
    others are in the published order around the placeholder.

    Raises:
        ValueError: If vocabulary and config differ.
    """
    patch, ids = top["image_patch"], {}
    for name, token in VISION_TOKENS.items():
        by_config = top.get(name)
        known = vocabulary.get(token, by_config)
        if by_config is not None and known != by_config:
            field = fields.name_of(name, config, FILE, "")
            raise ValueError(
                "Tokenizer and config of a checkpoint must agree on the id of "
                f"{token}. Received: id {known} in tokenizer.json, "
                f"{by_config} in {where} (`{field}`)."
            )
        ids[name] = patch + ID_OFFSETS[name] if known is None else known
    return ids
