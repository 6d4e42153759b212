"""Shapes of a model's weights, told from its sizes: none of them is made."""

HEAD = "lm_head"


def shapes_of(config):
    """The weights of a `VideoVLM` that is not quantized.

    Args:
        config: Dict, see `keras_stts.models.sizes.of_backbone`.

    Returns:
        Dict of path, as Keras names it, to tuple of ints, in the order of the
        model.
    """
    return {
        **_vision_encoder(config),
        **_connector(config),
        **_method(config),
        **_language_model(config),
    }


def _dense(name, inputs, units, *, bias=True):
    shapes = {f"{name}/kernel": (inputs, units)}
    return {**shapes, f"{name}/bias": (units,)} if bias else shapes


def _vision_encoder(c):
    name, width = "vision_encoder", c["vision_hidden_dim"]
    num_patches = (c["image_size"] // c["patch_size"]) ** 2
    shapes = {f"{name}/position_embedding": (num_patches, width)}
    pixels = 3 * c["patch_size"] ** 2
    shapes |= _dense(f"{name}/patch_embedding", pixels, width)
    for i in range(c["vision_num_layers"]):
        shapes |= _vision_block(c, f"{name}/block_{i}")
    return shapes


def _method(c):
    shapes = c["pruning"].weight_shapes(c)
    return {f"pruning/{path}": shape for path, shape in shapes.items()}


def _vision_block(c, name):
    width, hidden = c["vision_hidden_dim"], c["vision_intermediate_dim"]
    inner = c["vision_num_heads"] * c["vision_head_dim"]
    shapes = _layer_norm(f"{name}/attention_norm", width)
    for layer in ("query", "key", "value"):
        shapes |= _dense(f"{name}/{layer}", width, inner)
    shapes |= _dense(f"{name}/attention_output", inner, width)
    shapes |= _layer_norm(f"{name}/mlp_norm", width)
    shapes |= _dense(f"{name}/mlp_up", width, hidden)
    return shapes | _dense(f"{name}/mlp_down", hidden, width)


def _layer_norm(name, width):
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def _pooler(name, width, inner, output):
    shapes = {}
    for layer in ("query", "key", "value"):
        shapes |= _dense(f"{name}/{layer}", width, inner)
    return shapes | _dense(f"{name}/output_dense", inner, output)


def _connector(c):
    width = c["vision_hidden_dim"] * len(c["vision_feature_layers"])
    inner = c["connector_num_heads"] * c["connector_head_dim"]
    pooled, hidden = c["connector_hidden_dim"], c["connector_intermediate_dim"]
    shapes = _pooler("connector/pooler", width, inner, pooled)
    shapes |= _dense("connector/gate", pooled, hidden, bias=False)
    shapes |= _dense("connector/up", pooled, hidden, bias=False)
    return shapes | _dense(
        "connector/down", hidden, c["hidden_dim"], bias=False
    )


def _language_model(c):
    width, vocabulary = c["hidden_dim"], c["vocabulary_size"]
    ids = vocabulary + c["additional_vocabulary_size"]
    shapes = {"language_model/token_embedding/embeddings": (ids, width)}
    for i in range(c["num_layers"]):
        shapes |= _decoder_block(c, f"language_model/transformer_layer_{i}")
    shapes["language_model/layer_norm/scale"] = (width,)
    return shapes | _dense(HEAD, width, vocabulary, bias=False)


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
        shapes |= _dense(f"{name}/{layer}", width, units, bias=bias)
    for layer in ("query", "key"):
        by_head = c["query_key_norm"] == "head"
        size = c["head_dim"] if by_head else heads[layer]
        shapes[f"{name}/{layer}_norm/scale"] = (size,)
    output = f"{name}/attention_output"
    shapes |= _dense(output, heads["query"], width, bias=False)
    shapes[f"{name}/mlp_norm/scale"] = (width,)
    shapes |= _dense(f"{name}/mlp_gate", width, hidden, bias=False)
    shapes |= _dense(f"{name}/mlp_up", width, hidden, bias=False)
    return shapes | _dense(f"{name}/mlp_down", hidden, width, bias=False)
