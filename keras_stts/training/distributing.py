"""The devices that a model is spread over."""

import contextlib
import sys

import keras
import numpy as np

from keras_stts.memory import asking
from keras_stts.memory import limits
from keras_stts.models import sizes
from keras_stts.models.backbone_bounds import SIZES
from keras_stts.training import ddp
from keras_stts.training import jobs
from keras_stts.training import mirrored
from keras_stts.training.layouts import layout_map

KINDS = ("auto", "data", "fsdp")
BATCH, MODEL = "batch", "model"
# Share of a device's memory for weights that are on each device: the rest is
# for activations, and in training for gradients and moments.
MOST_OF_A_DEVICE = 0.5
GIB = 2**30


def data_parallel():
    """Examples are split over all devices, and each has all weights."""
    devices = keras.distribution.list_devices()
    return keras.distribution.DataParallel(
        devices=devices, auto_shard_dataset=False
    )


def fully_sharded():
    """Examples and weights are split over all devices (FSDP)."""
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh(
        (len(devices), 1), [BATCH, MODEL], devices
    )
    return keras.distribution.ModelParallel(
        layout_map=layout_map(mesh, MODEL, BATCH),
        batch_dim_name=BATCH,
        auto_shard_dataset=False,
    )


@contextlib.contextmanager
def distributed(distribution, config):
    """Set the distribution over devices, also of a model made in the context.

    Args:
        distribution: `"auto"`, `"data"`, `"fsdp"`, a
            `keras.distribution.Distribution`, or `None` for the current one.
        config: Function without arguments that returns the arguments of the
            `VideoVLMBackbone` that is made.

    Raises:
        ValueError: If the distribution is unknown, or the backend has none.
    """
    if distribution is None:
        jobs.draw_alike()
        yield
        return
    chosen = _choose(distribution, config)
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(chosen)
    try:
        jobs.draw_alike()
        yield
    except BaseException:
        keras.distribution.set_distribution(before)
        raise


def _choose(distribution, config):
    is_one = hasattr(distribution, "get_variable_layout")
    if not is_one and distribution not in KINDS:
        raise ValueError(
            f"`distribution` must be one of {', '.join(map(repr, KINDS))}, a "
            "`keras.distribution.Distribution`, or None for that of "
            "`keras.distribution.set_distribution`. Received: "
            f"distribution={distribution!r}."
        )
    if keras.config.backend() != "jax":
        raise ValueError(
            "Keras spreads a model over devices under JAX alone. Received: "
            f"distribution={distribution!r}, backend="
            f"{keras.config.backend()!r}. Set KERAS_BACKEND=jax."
        )
    if is_one:
        return distribution
    if distribution == "auto":
        return _choose_for(config())
    return data_parallel() if distribution == "data" else fully_sharded()


def _choose_for(config):
    """All weights on each device if they fit, else split over all."""
    count, size = keras.distribution.get_device_count(), weights_bytes(config)
    room = memory_of_a_device()
    fits = size <= MOST_OF_A_DEVICE * room
    numbers = f"{size / GIB:.2f} GiB on {count} devices of {room / GIB:.1f} GiB"
    if fits:
        _say(f'distribution="data": weights of {numbers}, all on each.')
        return data_parallel()
    _say(f'distribution="fsdp": weights of {numbers}, cut over all.')
    return fully_sharded()


def _say(text):
    print(f"keras_stts: {text}", file=sys.stderr)


def weights_bytes(config):
    """Bytes of the weights of a model of a backbone's config.

    Errors in a config are raised later, by loading.
    """
    known = SIZES <= sizes.of_config(config).keys()
    if not known and not sizes.has_other_parts(config):
        return 0
    return asking.of_preset(config, phase="prefill")["weights"]


def memory_of_a_device():
    """Bytes of the smallest device; for CPUs, its share of the host's."""
    found = limits.device_memory()
    if found is None:
        return limits.host_memory() / keras.distribution.get_device_count()
    return found


def check_devices(model):
    """Raise if a model cannot run on the several devices that are set.

    Raises:
        ValueError: If a distribution is set under another backend than JAX,
            or the model was made in a strategy of TensorFlow that it cannot
            run in, see `mirrored.check`.
    """
    backend = keras.config.backend()
    if backend == "jax":
        return
    ddp.check(model)
    found = keras.distribution.distribution()
    if backend == "tensorflow":
        strategy = mirrored.strategy_of(model)
        if strategy is not None:
            mirrored.check(strategy, model.loss)
    if found is not None:
        raise ValueError(
            "A `VideoVLM` takes a distribution under JAX alone. Received: "
            f"{type(found).__name__}, backend={backend!r}. Set "
            "KERAS_BACKEND=jax and pass `distribution` to `from_preset`; or, "
            "under TensorFlow, make the model in a "
            "`tf.distribute.MirroredStrategy`."
        )


def replicas():
    """Parts that a batch of this process is split into; 1 without devices."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    import jax

    return max(1, distribution.num_model_replicas // jax.process_count())


def is_spread():
    """Whether batches are split over devices of this process or of others."""
    return replicas() > 1 or are_joint()


def are_joint():
    """Whether arrays are spread over processes, which only JAX does."""
    return keras.config.backend() == "jax" and jobs.this_process()[1] > 1


def spread(inputs):
    """Turn arrays into tensors whose rows are split over devices.

    Args:
        inputs: Structure of arrays (B, ...), of this process.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    import jax

    def cut(array):
        layout = distribution.get_data_layout(array.shape).backend_layout
        array = np.asarray(array)
        return jax.make_array_from_process_local_data(layout, array)

    return keras.tree.map_structure(cut, inputs)


def by_rows(tensors):
    """Tensors (B, ...) of a step, split over devices only by their rows."""
    distribution = keras.distribution.distribution()

    def cut(tensor):
        layout = distribution.get_data_layout(tensor.shape)
        return keras.distribution.distribute_tensor(tensor, layout)

    return keras.tree.map_structure(cut, tensors)


def own_rows(tensor):
    """This process' rows of a tensor (B, ...), as a NumPy array."""
    if getattr(tensor, "is_fully_addressable", True):
        return keras.ops.convert_to_numpy(tensor)
    shards = {s.index[0].start or 0: s.data for s in tensor.addressable_shards}
    return np.concatenate([np.asarray(shards[i]) for i in sorted(shards)])


def of_own_rows(step):
    """A predict step whose outputs are the rows of this process."""

    def run(state, iterator):
        outputs, state = step(state, iterator)
        return keras.tree.map_structure(own_rows, outputs), state

    return run if are_joint() else step


@contextlib.contextmanager
def alone():
    """Within this context Keras does not spread anything over devices."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield distribution
    finally:
        keras.distribution.set_distribution(distribution)
