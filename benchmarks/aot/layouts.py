"""What of a step lies on which chip."""

LAYOUTS = ("data", "fsdp")


def place(step, devices, layout="data"):
    """A step's arguments, as shapes with shardings.

    Args:
        step: A `steps.Step`.
        devices: List of devices, one a chip.
        layout: `"data"`, each chip has all weights and a part of the batch;
            or `"fsdp"`, each has a part of the weights, too.

    Raises:
        ValueError: If there is no such layout, or the chips do not divide the
            batch.
    """
    import jax

    if layout not in LAYOUTS:
        raise ValueError(
            f"`layout` must be one of {', '.join(LAYOUTS)}. Received: "
            f"layout={layout!r}."
        )
    mesh = jax.sharding.Mesh(devices, ("data",))
    choose = {"weights": _weight_axis, "data": _batch_axis}
    if layout == "data":
        choose["weights"] = _no_axis
    return tuple(
        jax.tree.map(
            lambda leaf: _placed(leaf, mesh, choose[role](leaf, len(devices))),
            arg,
        )
        for arg, role in zip(step.args, step.roles)
    )


def _placed(leaf, mesh, axis):
    import jax

    spec = [None] * len(leaf.shape)
    if axis is not None:
        spec[axis] = "data"
    sharding = jax.sharding.NamedSharding(
        mesh, jax.sharding.PartitionSpec(*spec)
    )
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _no_axis(leaf, chips):
    return None


def _batch_axis(leaf, chips):
    if not leaf.shape:
        return None
    if leaf.shape[0] % chips:
        raise ValueError(
            "The chips must divide the batch. Received: "
            f"batch_size={leaf.shape[0]}, chips={chips}. Pass a batch size of "
            f"{chips}, or a multiple."
        )
    return 0


def _weight_axis(leaf, chips):
    """The longest axis of a matrix that the chips divide."""
    axes = [i for i, n in enumerate(leaf.shape) if n % chips == 0]
    if len(leaf.shape) < 2 or not axes:
        return None
    return max(axes, key=lambda i: leaf.shape[i])
