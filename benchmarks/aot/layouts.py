"""What of a step lies on which chip: as `keras.distribution` has it."""

BATCH, MODEL = "batch", "model"
LAYOUTS = ("data", "fsdp", "model", "both")


def make_distribution(devices, layout="data"):
    """What users set for these chips; `None` for one.

    Args:
        devices: List of devices, one a chip.
        layout: `"data"`, each chip has all weights and a part of the batch;
            `"fsdp"`, each has a part of the weights, too; `"model"`, each has
            some heads and units, and all of the batch; or `"both"`, the batch
            over half of the chips and the parts of the model over pairs.

    Raises:
        ValueError: If there is no such layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(
            f"`layout` must be one of {', '.join(LAYOUTS)}. Received: "
            f"layout={layout!r}."
        )
    import keras

    count = len(devices)
    if count == 1:
        return None
    if layout == "data":
        return keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )
    import keras_stts

    shape = {"fsdp": (count, 1), "model": (1, count), "both": (count // 2, 2)}
    mesh = keras.distribution.DeviceMesh(shape[layout], [BATCH, MODEL], devices)
    return keras.distribution.ModelParallel(
        layout_map=keras_stts.VideoVLMBackbone.get_layout_map(
            mesh, MODEL, BATCH
        ),
        batch_dim_name=BATCH,
        auto_shard_dataset=False,
    )


def lay_out(model, distribution):
    """Give the variables of a model without values their layouts.

    Keras does so when it gives them values. Those of an optimizer follow.
    """
    from keras_stts.models import sizes
    from keras_stts.training import layouts

    if distribution is None:
        return
    with layouts.sizes_known(sizes.of_backbone(model.backbone)):
        for variable in model.variables:
            layout = distribution.get_variable_layout(variable)
            variable._layout = layout


def place(step, devices, distribution=None):
    """A step's arguments, as shapes with shardings.

    Args:
        step: A `steps.Step`.
        devices: List of devices, one a chip.
        distribution: What `make_distribution` made.

    Raises:
        ValueError: If the chips do not divide the batch.
    """
    import jax

    mesh = jax.sharding.Mesh(devices, (BATCH,))
    if distribution is not None:
        mesh = distribution.device_mesh.backend_mesh
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def fixed(leaf):
        return _placed(leaf, leaf.sharding or everywhere)

    def cut(leaf):
        if distribution is None or not leaf.shape:
            return _placed(leaf, everywhere)
        parts = distribution.num_model_replicas
        if leaf.shape[0] % parts:
            raise ValueError(
                "The chips must divide the batch. Received: "
                f"batch_size={leaf.shape[0]}, chips={mesh.size}, which cut "
                f"it into {parts}. Pass a batch size of {parts}, or a multiple."
            )
        layout = distribution.get_data_layout(leaf.shape)
        return _placed(leaf, layout.backend_layout)

    choose = {"weights": fixed, "data": cut}
    return tuple(
        jax.tree.map(choose[role], arg)
        for arg, role in zip(step.args, step.roles)
    )


def _placed(leaf, sharding):
    import jax

    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
