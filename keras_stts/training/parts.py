"""The parts of a `VideoVLM` that are trained at rates of their own."""

PARTS = ("scorer", "vision_encoder", "connector", "language_model")


def part_of(variable):
    """Name of the part that a variable belongs to."""
    names = variable.path.split("/")
    if names[0] == "pruning" or "/pruning/" in variable.path:
        return PARTS[0]
    for part in PARTS[:-1]:
        if part in names:
            return part
    return PARTS[-1]


def check_parts(parts):
    """Raise unless all are names of parts."""
    if isinstance(parts, str) or not set(parts) <= set(PARTS):
        raise ValueError(
            f"`trainable_parts` must be a list of {', '.join(PARTS)}. "
            f"Received: {parts!r}."
        )


def set_trainable_parts(model, parts):
    """Train the variables of these parts, and no others."""
    prunes = model.backbone.pruning.runs
    for variable in model.weights:
        if variable.dtype.startswith(("float", "bfloat")):
            part = part_of(variable)
            variable.trainable = part in parts and (prunes or part != "scorer")
