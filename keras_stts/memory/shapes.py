"""Shapes of a model's weights, told from its sizes: none of them is made."""

from keras_stts.models.sizes import counted
from keras_stts.towers.shapes import dense
from keras_stts.towers.shapes import vision_transformer

HEAD = "lm_head"


def shapes_of(config):
    """The weights of a `VideoVLM` that is not quantized.

    Args:
        config: Dict, see `keras_stts.models.sizes.of_backbone`.

    Returns:
        Dict of path, as Keras names it, to tuple of ints, in the order of the
        model.
    """
    config = counted(config)
    made = config.get("shapes") or {
        "vision_encoder": vision_transformer(config),
        "connector": _connector(config),
    }
    parts = {
        f"{part}/{path}": shape
        for part, shapes in made.items()
        for path, shape in shapes.items()
    }
    return {**parts, **_method(config), **_language_model(config)}


def _method(c):
    shapes = c["pruning"].weight_shapes(c)
    return {f"pruning/{path}": shape for path, shape in shapes.items()}


def _pooler(name, width, inner, output):
    shapes = {}
    for layer in ("query", "key", "value"):
        shapes |= dense(f"{name}/{layer}", width, inner)
    return shapes | dense(f"{name}/output_dense", inner, output)


def _connector(c):
    width = c["vision_hidden_dim"] * len(c["vision_feature_layers"])
    inner = c["connector_num_heads"] * c["connector_head_dim"]
    pooled, hidden = c["connector_hidden_dim"], c["connector_intermediate_dim"]
    shapes = _pooler("pooler", width, inner, pooled)
    shapes |= dense("gate", pooled, hidden, bias=False)
    shapes |= dense("up", pooled, hidden, bias=False)
    return shapes | dense("down", hidden, c["hidden_dim"], bias=False)


def _language_model(c):
    width, vocabulary = c["hidden_dim"], c["vocabulary_size"]
    ids = vocabulary + c["additional_vocabulary_size"]
    shapes = {"language_model/token_embedding/embeddings": (ids, width)}
    for i in range(c["num_layers"]):
        shapes |= _decoder_block(c, f"language_model/transformer_layer_{i}")
    shapes["language_model/layer_norm/scale"] = (width,)
    if c["tie_embeddings"]:
        return shapes
    return shapes | dense(HEAD, width, vocabulary, bias=False)


def _decoder_block(c, name):
    width, hidden = c["hidden_dim"], c["intermediate_dim"]
    heads = {
        "query": c["num_query_heads"] * c["head_dim"],
        "key": c["num_key_value_heads"] * c["head_dim"],
        "value": c["num_key_value_heads"] * c["head_dim"],
    }
    shapes = {f"{name}/attention_norm/scale": (width,)}
    for layer, units in heads.items():
        bias = c["attention_bias"]
        shapes |= dense(f"{name}/{layer}", width, units, bias=bias)
    for layer in ("query", "key"):
        by_head = c["query_key_norm"] == "head"
        size = c["head_dim"] if by_head else heads[layer]
        shapes[f"{name}/{layer}_norm/scale"] = (size,)
    output = f"{name}/attention_output"
    shapes |= dense(output, heads["query"], width, bias=False)
    shapes[f"{name}/mlp_norm/scale"] = (width,)
    shapes |= dense(f"{name}/mlp_gate", width, hidden, bias=False)
    shapes |= dense(f"{name}/mlp_up", width, hidden, bias=False)
    return shapes | dense(f"{name}/mlp_down", hidden, width, bias=False)
