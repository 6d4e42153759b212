"""The weights of a backbone's parts."""


def build_parts(backbone):
    """Make the weights, without videos and images, too: what weights a model
    has does not depend on what it is shown."""
    tower = backbone.vision_encoder
    tower.build()
    backbone.connector.build((None, None, *tower.features_shape))
    for method in (backbone.pruning, backbone.language_pruning):
        _check_free(method)
    backbone.language_model.build()
    # Last, so that another method leaves the others' random weights as is.
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
