"""Kernels on several devices: each runs its share of the rows and heads."""

import keras

from keras_stts.kernels.pallas.plan import LANES


def on_each_device(run, arguments, kinds, results):
    """Run a function on each device's part of its arguments.

    Args:
        run: Function of the arguments that returns a tuple.
        arguments: Tensors or `None`; the first two are queries and keys.
        kinds: Str for each argument, how it is cut: `"heads"`,
            (B, S, heads, width), by rows and heads; `"numbers"`, of the form
            that `stack_numbers` returns, by both, too; `"rows"`, (B, ...), by
            rows; `"one"`, (1, ...), not at all, for all rows use it.
        results: As `kinds`, for what `run` returns. Results `"rows"` and
            `"one"`, gradients that several devices have a part of, are summed
            over those devices.

    Returns:
        What `run` would return on one device.
    """
    given = [i for i, x in enumerate(arguments) if x is not None]

    def of_parts(*tensors):
        parts = dict(zip(given, tensors))
        return run(*(parts.get(i) for i in range(len(arguments))))

    def summed(*tensors):
        shared = {"rows": axes[1:], "one": axes}
        out = zip(results, of_parts(*tensors))
        return tuple(_sum(x, shared.get(kind, ())) for kind, x in out)

    query, key = arguments[:2]
    tensors = [arguments[i] for i in given]
    mesh, *axes = axes_of_devices(query.shape[0], key.shape[2])
    if mesh is None:
        return of_parts(*tensors)
    import jax

    specs = {
        "heads": (axes[0], None, axes[1]),
        # Heads are side by side in a block, or blocks: see `Plan.side`.
        "numbers": (axes[0], None, None, axes[1])
        if query.shape[-1] % LANES
        else (axes[0], axes[1]),
        "rows": (axes[0],),
        "one": (),
    }
    specs = {k: jax.sharding.PartitionSpec(*v) for k, v in specs.items()}
    return jax.shard_map(
        summed,
        mesh=mesh,
        in_specs=tuple(specs[kinds[i]] for i in given),
        out_specs=tuple(specs[kind] for kind in results),
        check_vma=False,
    )(*tensors)


def _sum(x, axes):
    import jax

    axes = tuple(axis for axis in axes if axis is not None)
    return jax.lax.psum(x, axes) if axes else x


def axes_of_devices(num_rows, key_heads):
    """How `keras.distribution` spreads attention over devices.

    Returns:
        Tuple of JAX' mesh and the names of its axes for rows and for heads,
        each `None` if it is not spread, or if their number does not allow it.
    """
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.device_mesh.devices.size == 1:
        return None, None, None
    mesh, rows = distribution.device_mesh.backend_mesh, None
    sizes = dict(mesh.shape)
    batch = distribution.batch_dim_name
    if num_rows % sizes[batch] == 0:
        rows = batch
    heads = [
        name
        for name, size in sizes.items()
        if name != batch and size > 1 and key_heads % size == 0
    ]
    return mesh, rows, heads[0] if heads else None
