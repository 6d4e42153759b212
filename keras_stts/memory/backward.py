"""What of a model has a backward pass, and what that leaves."""

from keras_stts.memory.weights import num_bytes
from keras_stts.memory.weights import part_of_weight

BLOCKS = {"vision_encoder": "block_", "language_model": "transformer_layer_"}


def backward_starts(weights, config, runs_scorer):
    """Where the backward pass ends, going down from the loss.

    Args:
        weights: List of `Weight`.
        config: Dict of the arguments of `VideoVLMBackbone`.
        runs_scorer: Bool.

    Returns:
        Dict of `"vision_encoder"` and `"language_model"`: the lowest block
        whose inputs or weights have a gradient, or the number of blocks if
        none has; `"connector"`, `"scorer"`, `"head"`: bool.
    """
    trained = [w for w in weights if w.trainable]
    parts = {part_of_weight(w) for w in trained}
    vision = _lowest(trained, "vision_encoder", config["vision_num_layers"])
    if "scorer" in parts and runs_scorer:
        # Its gradient comes by the bias of the block after it.
        vision = min(vision, config["prune_layer"] + 1)
    connector = "connector" in parts or vision < config["vision_num_layers"]
    text = _lowest(trained, "language_model", config["num_layers"])
    return {
        "vision_encoder": vision,
        "scorer": "scorer" in parts and runs_scorer,
        "connector": connector,
        "language_model": 0 if connector else text,
        "head": bool(trained),
    }


def _lowest(trained, part, count):
    """The lowest block with something to train, embeddings being below 0."""
    places = [count]
    for weight in trained:
        if part_of_weight(weight) == part:
            place = _block(weight, part)
            above = weight.path.startswith("language_model/layer_norm")
            places.append(count if above else max(0, place))
    return min(places)


def _block(weight, part):
    """Number of the block that a weight is of, -1 if it is of none."""
    name = weight.path.removeprefix(f"{part}/")
    if not name.startswith(BLOCKS[part]):
        return -1
    return int(name.removeprefix(BLOCKS[part]).split("/")[0])


def gradients_by_stage(weights, shared=1):
    """Bytes of the gradients that the backward pass of a stage leaves.

    That of the token embedding is left out: compilers make it last, when all
    but the gradients is gone.

    Args:
        weights: List of `Weight`.
        shared: Int. Chips that matrices are cut over.

    Returns:
        Dict of `"scorer"`, `"connector"`, `"head"`, ("vision_encoder",
        block) and ("language_model", block), block -1 for what is in none.
    """
    found = {}
    for weight in weights:
        part = part_of_weight(weight)
        if not weight.trainable or _is_embedding(weight):
            continue
        stage = (part, _block(weight, part)) if part in BLOCKS else part
        size = num_bytes(weight) // (shared if len(weight.shape) > 1 else 1)
        found[stage] = found.get(stage, 0) + size
    return found


def embedding_bytes(weights, shared=1):
    """Bytes of the gradient of the token embedding."""
    return sum(
        num_bytes(weight) // shared
        for weight in weights
        if weight.trainable and _is_embedding(weight)
    )


def _is_embedding(weight):
    return weight.path.endswith("token_embedding/embeddings")
