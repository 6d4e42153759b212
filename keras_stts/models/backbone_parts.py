"""The weights of a backbone's parts."""

from keras_stts import _hub_compat as hub


def build_parts(backbone):
    """Make all weights, also those of vision in a model that gets text alone:
    so every model of these sizes has the same weights."""
    tower = backbone.vision_encoder
    _build(tower)
    _check_policies(tower)
    _build(backbone.connector, (None, None, *tower.features_shape))
    for method in (backbone.pruning, backbone.language_pruning):
        _check_free(method)
    _build(backbone.language_model)
    # Last, so that the random weights of the rest do not depend on the method.
    backbone.pruning.attach(
        tower,
        backbone.hidden_dim,
        backbone.num_frames,
        backbone.num_segments,
    )
    if backbone.language_pruning is not None:
        backbone.language_pruning.build(None)
    _check_built(backbone)
    # Rates, what is trained and memory are told apart by paths of weights.
    for name in ("vision_encoder", "connector", "language_model", "pruning"):
        hub.move_under(getattr(backbone, name), name)


def _build(part, *shape):
    """Make a part's weights, unless it was called before and has them."""
    if not part.built:
        part.build(*shape)


def _check_policies(tower):
    """Raise if layers of a user's tower were not given its dtype policy."""
    wanted = tower.dtype_policy
    for block in tower.blocks:
        found = block.dtype_policy
        if found.compute_dtype != wanted.compute_dtype:
            raise ValueError(
                "The layers of a vision tower must compute in its dtype. "
                f"Received: {block.name!r} of {type(tower).__name__}, which "
                f"computes in {found.compute_dtype}, not in "
                f"{wanted.compute_dtype}. Make it with "
                "`dtype=self.dtype_policy`."
            )


def _check_built(backbone):
    """Raise if a layer of a user's part would make its weights at first use,
    when nothing trains or loads them any more."""
    parts = ["vision_encoder", "connector", "language_model"]
    if backbone.num_frames:  # Without frames a method has no sizes to build by.
        parts.append("pruning")
    for part in parts:
        for layer in hub.flatten_layers(getattr(backbone, part)):
            if not layer.built:
                raise ValueError(
                    "A part of a model makes its weights in `build`. Received: "
                    f"{type(getattr(backbone, part)).__name__}, whose layer "
                    f"{layer.name!r} is not built then. Build it there."
                )


def _check_free(method):
    if getattr(method, "weights", None):
        raise ValueError(
            "A method of pruning with weights belongs to one model. Received: "
            f"{type(method).__name__}, which has {len(method.weights)} of "
            "another model. Make a new one of its class."
        )
