"""Arguments of a backbone from the `config.json` of a Molmo2 checkpoint."""

from keras_stts.models import molmo2_fields as fields
from keras_stts.models.activations import get_activation
from keras_stts.models.rope import rotary_embedding
from keras_stts.models.video_vlm_tokenizer import VISION_TOKENS

FILE = "config.json"
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
NORMS = {"qwen3": "head", "olmo": "all"}
# Types of rotary embeddings that know how long their training was.
KNOW_LENGTH = ("llama3", "longrope", "yarn")


def backbone_config(config, vocabulary=None, preset="a checkpoint"):
    """Arguments of `VideoVLMBackbone`, but for those of its processor.

    Args:
        config: Dict, `config.json`, in the authors' or transformers' words.
        vocabulary: Optional dict of token to id.
        preset: Str, what errors call the checkpoint.

    Raises:
        ValueError: If a field is missing or unknown, or the model is of a
            kind that `VideoVLMBackbone` cannot be.
    """
    top = fields.parse(config, FILE, preset=preset)
    where = f"{FILE} of {preset}"
    name = "vision_config" if config.get("vision_config") else "vit_config"
    parts = {
        part: fields.parse(top[key], FILE, part, preset)
        for key, part in (
            ("vision_config", name),
            ("adapter_config", "adapter_config"),
            ("text_config", "text_config"),
        )
    }
    vision, adapter, text = parts.values()
    ids = vision_token_ids(top, vocabulary or {}, where)
    if adapter["text_hidden_size"] is not None:
        fields.require(
            adapter["text_hidden_size"] == text["hidden_dim"],
            "be `text_config.hidden_size`",
            "adapter_config.text_hidden_size",
            adapter["text_hidden_size"],
            where,
        )
    return {
        **_vision(vision, name, where),
        **_adapter(adapter, vision, name, where),
        **_text(text, config["text_config"], where),
        "image_patch_id": ids["image_patch"],
        "vision_token_ids": list(ids.values()),
    }


def stop_token_ids(config, preset="a checkpoint"):
    """Ids that end an answer if no other file says so, or `None`."""
    top = fields.parse(config, FILE, preset=preset)
    text = fields.parse(top["text_config"], FILE, "text_config", preset)
    return top["stop_token_ids"] or text["stop_token_ids"]


def _vision(vision, name, where):
    height, width = (vision["image_size"] * 2)[:2]
    square = len(vision["image_size"]) == 2 and height == width
    label = f"{name}.image_size"
    fields.require(
        square, "be two equal sides", label, vision["image_size"], where
    )
    side = height // max(vision["patch_size"], 1)
    positions = vision.pop("num_positions")
    fields.require(
        positions in (None, side**2),
        f"be that of the patches of a picture, {side**2}",
        f"{name}.num_position_embeddings",
        positions,
        where,
    )
    _check_heads(vision, "vision_num_heads", name, where)
    activation = vision["vision_activation"]
    _checked(get_activation, f"{name}.hidden_act", where, activation)
    return {**vision, "image_size": height}


def _check_heads(part, argument, name, where):
    """Keys and values of vision parts have as many heads as queries."""
    number = part.pop("num_key_value_heads")
    fields.require(
        number in (None, part[argument]),
        "be `num_attention_heads`",
        f"{name}.num_key_value_heads",
        number,
        where,
    )


def _adapter(adapter, vision, vision_name, where):
    _check_heads(adapter, "connector_num_heads", "adapter_config", where)
    adapter.pop("text_hidden_size")
    layers, depth = (
        adapter["vision_feature_layers"],
        vision["vision_num_layers"],
    )
    fields.require(
        layers and all(-depth <= layer < depth for layer in layers),
        f"be of the {depth} layers of `{vision_name}`",
        "adapter_config.vision_feature_layer",
        layers,
        where,
    )
    activation = adapter["connector_activation"]
    _checked(get_activation, "adapter_config.hidden_act", where, activation)
    layers = [layer % depth for layer in layers]
    return {
        **adapter,
        "vision_feature_layers": layers,
        # Layers above the last feature are never run.
        "vision_num_layers": max(layers) + 1,
    }


def _text(text, given, where):
    norm = text["query_key_norm"]
    fields.require(
        norm in NORMS,
        f"be {' or '.join(NORMS)}",
        "text_config.qk_norm_type",
        norm,
        where,
    )
    activation = text["activation"]
    _checked(get_activation, "text_config.hidden_act", where, activation)
    wavelength, scaling = _rope(text, where)
    names = ("rope_parameters", "rope_scaling", "rope_theta", "max_positions")
    names += ("original_max_positions", "stop_token_ids")
    return {
        **{name: value for name, value in text.items() if name not in names},
        "query_key_norm": NORMS[norm],
        "rope_max_wavelength": wavelength,
        "rope_scaling": scaling,
    }


def _rope(text, where):
    """Wavelength, and type and numbers of a scaled rotary embedding."""
    label = "text_config.rope_parameters"
    new, old = text["rope_parameters"], text["rope_scaling"]
    fields.require(
        not (new and old) or new == old,
        "agree with `text_config.rope_scaling`, its older name",
        label,
        new,
        where,
    )
    rope = dict(new or old or {})
    label = label if new else "text_config.rope_scaling"
    inner, outer = rope.pop("rope_theta", None), text["rope_theta"]
    fields.require(
        inner is None or outer is None or inner == outer,
        "be that of `text_config.rope_parameters`",
        "text_config.rope_theta",
        outer,
        where,
    )
    wavelength = outer if inner is None else inner
    fields.require(
        wavelength is not None and fields.TYPES["number"][0](wavelength),
        "be given, as a number",
        "text_config.rope_theta",
        wavelength,
        where,
    )
    kind = rope.pop("type", "default")
    kind = rope.pop("rope_type", None) or kind
    partial = rope.pop("partial_rotary_factor", None)
    fields.require(
        partial in (None, 1),
        "be 1: whole heads are rotated",
        f"{label}.partial_rotary_factor",
        partial,
        where,
    )
    if kind == "default":
        return wavelength, None
    if kind in KNOW_LENGTH:
        _tell_length(rope, kind, text)
    scaling = {"rope_type": kind, **rope}
    _checked(rotary_embedding, label, where, wavelength, scaling)
    return wavelength, scaling


def _tell_length(rope, kind, text):
    """Add the length of the training, and YaRN's factor, if not given.

    A length beside the numbers of the embedding goes before one among them.
    """
    beside = text["original_max_positions"]
    among = rope.get("original_max_position_embeddings")
    length = beside or among or text["max_positions"]
    rope["original_max_position_embeddings"] = length
    if kind in ("yarn", "longrope") and rope.get("factor") is None:
        rope["factor"] = text["max_positions"] / length


def _checked(function, label, where, *args):
    """Call what checks its arguments, with file and field in its error."""
    try:
        return function(*args)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{label}` in {where} is not what a model here can have. "
            f"Received: {args[-1]!r}. {error}"
        ) from error


def vision_token_ids(top, vocabulary, where=FILE):
    """Id of each vision token, by its name in `VISION_TOKENS`.

    From the vocabulary where there is one, else from the config, which names
    some; the rest stand in the published order around the placeholder.

    Raises:
        ValueError: If vocabulary and config differ.
    """
    patch, ids = top["image_patch"], {}
    for name, token in VISION_TOKENS.items():
        by_config = top.get(name)
        known = vocabulary.get(token, by_config)
        if by_config is not None and known != by_config:
            raise ValueError(
                "Tokenizer and config of a checkpoint must agree on the id of "
                f"{token}. Received: id {known} in tokenizer.json, "
                f"{by_config} in {where}."
            )
        ids[name] = patch + ID_OFFSETS[name] if known is None else known
    return ids
