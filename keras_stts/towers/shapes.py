"""Shapes of the weights of layers, by the names that Keras gives them."""


def dense(name, inputs, units, *, bias=True):
    shapes = {f"{name}/kernel": (inputs, units)}
    return {**shapes, f"{name}/bias": (units,)} if bias else shapes


def layer_norm(name, width):
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def vision_transformer(config):
    """Those of a tower of `VisionBlock`s with a table of positions.

    Args:
        config: Dict, see `keras_stts.models.sizes.counted`.
    """
    width = config["vision_hidden_dim"]
    shapes = {"position_embedding": (config["vision_patches"], width)}
    shapes |= dense("patch_embedding", config["pixels"], width)
    for i in range(config["vision_num_layers"]):
        shapes |= _vision_block(config, f"block_{i}")
    return shapes


def _vision_block(config, name):
    width = config["vision_hidden_dim"]
    hidden = config["vision_intermediate_dim"]
    inner = config["vision_num_heads"] * config["vision_head_dim"]
    shapes = layer_norm(f"{name}/attention_norm", width)
    for layer in ("query", "key", "value"):
        shapes |= dense(f"{name}/{layer}", width, inner)
    shapes |= dense(f"{name}/attention_output", inner, width)
    shapes |= layer_norm(f"{name}/mlp_norm", width)
    shapes |= dense(f"{name}/mlp_up", width, hidden)
    return shapes | dense(f"{name}/mlp_down", hidden, width)
