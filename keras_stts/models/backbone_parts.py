"""The weights of a backbone's parts."""


def build_parts(backbone):
    """Make all weights, also those of vision in a model that gets text alone:
    so every model of these sizes has the same weights."""
    tower = backbone.vision_encoder
    tower.build()
    backbone.connector.build((None, None, *tower.features_shape))
    for method in (backbone.pruning, backbone.language_pruning):
        _check_free(method)
    backbone.language_model.build()
    # Last, so that the random weights of the rest do not depend on the method.
    backbone.pruning.attach(
        tower,
        backbone.hidden_dim,
        backbone.num_frames,
        backbone.num_segments,
    )
    if backbone.language_pruning is not None:
        backbone.language_pruning.build(None)


def _check_free(method):
    if getattr(method, "weights", None):
        raise ValueError(
            "A method of pruning with weights belongs to one model. Received: "
            f"{type(method).__name__}, which has {len(method.weights)} of "
            "another model. Make a new one of its class."
        )
