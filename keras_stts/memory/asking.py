"""Memory of a model that is there, and of a preset that is not loaded."""

import inspect

import keras
import numpy as np

from keras_stts.memory import weights as model_weights
from keras_stts.memory.estimate import SLOTS
from keras_stts.memory.estimate import count_memory
from keras_stts.models import sizes
from keras_stts.models.backbone_bounds import is_int
from keras_stts.presets import files as preset_files
from keras_stts.presets.keras_format import naming
from keras_stts.presets.preset_mixin import backbone_config
from keras_stts.presets.preset_mixin import buckets_of
from keras_stts.presets.preset_mixin import format_of
from keras_stts.presets.preset_mixin import preset_config
from keras_stts.presets.preset_mixin import resolve_preset

# Of a model without preprocessor.
TEXT_LENGTH, TIME_TOKENS = 64, 8


def of_model(
    model,
    text_length=None,
    dtype=None,
    *,
    optimizer=None,
    buckets=None,
    **kwargs,
):
    """The `Memory` of a `VideoVLM`; see `VideoVLM.memory`.

    Its `buckets`, if it has any, may be changed.
    """
    preprocessor = model.preprocessor
    buckets = buckets or getattr(preprocessor, "buckets", None)
    if text_length is None:
        text_length = (
            preprocessor.sequence_length if preprocessor else TEXT_LENGTH
        )
    if optimizer is None:
        optimizer = getattr(model, "optimizer", None) or SLOTS
    stored, _, mode = model_weights.policy_of(dtype or model.dtype_policy)
    weights = model_weights.weights_of_model(model)
    if dtype is not None:
        weights = model_weights.cast_weights(weights, stored)
    mode = kwargs.get("quantization") or mode
    weights = model_weights.quantized(weights, mode)
    config = sizes.of_backbone(model.backbone)
    return count_memory(
        _in_bucket(config, buckets, kwargs.get("num_frames")),
        weights,
        text_length=text_length,
        dtype=dtype or model.backbone.dtype_policy,
        optimizer_slots=count_slots(optimizer),
        time_tokens=preprocessor.time_tokens if preprocessor else TIME_TOKENS,
        in_chunks=model.takes_chunks or not model.compiled,
        **_settled(kwargs),
    )


def of_preset(preset, optimizer=None, **kwargs):
    """The `Memory` of a preset or a config; see `VideoVLM.memory_of`."""
    config = preset if isinstance(preset, dict) else config_of_preset(preset)
    config = dict(config)
    buckets = config.pop("buckets", None)
    buckets = kwargs.pop("buckets", None) or buckets
    names = sizes.NAMES
    if kwargs.get("dtype") is None:
        kwargs["dtype"] = config.get("dtype")
    _check_names(kwargs, names)
    names -= set(inspect.signature(count_memory).parameters)
    changed = {name: kwargs.pop(name) for name in names & set(kwargs)}
    changed = {
        name: x
        for name, x in changed.items()
        if x is not None or name in sizes.DOORS
    }
    if "pruning" in changed and kwargs.get("prune_ratio") is not None:
        # A method of a preset that prunes nothing is told how much.
        changed["prune_ratio"] = kwargs["prune_ratio"]
    slots = count_slots(SLOTS if optimizer is None else optimizer)
    if kwargs.get("text_length") is None:
        kwargs["text_length"] = TEXT_LENGTH
    if sizes.has_other_parts(config):
        config = sizes.of_parts(sizes.changed(config, changed))
        if "vision_num_blocks" not in changed:
            config = _in_bucket(config, buckets, kwargs.get("num_frames"))
    else:
        config = sizes.changed(sizes.of_config(config), changed)
        config = sizes.of_config(config)
    return count_memory(config, optimizer_slots=slots, **_settled(kwargs))


def _in_bucket(config, buckets, num_frames):
    if not buckets or not config["num_frames"] or num_frames == 0:
        return config
    return sizes.in_bucket(config, buckets, num_frames)


def _check_names(kwargs, names):
    """Raise if there are arguments that nothing takes."""
    known = set(inspect.signature(count_memory).parameters)
    known = known - {"config", "weights", "optimizer_slots", "in_chunks"}
    unknown = sorted(set(kwargs) - known - names)
    if unknown:
        given = ", ".join(f"{name}={kwargs[name]!r}" for name in unknown)
        raise TypeError(
            "`memory_of` got arguments that nothing takes. Received: "
            f"{given}. Known are: "
            f"{', '.join(sorted(known | names | {'optimizer'}))}."
        )


def config_of_preset(preset):
    """Arguments of `VideoVLMBackbone` that a preset has, and its dtype.

    Of presets whose batches are padded to one of several shapes there are
    `"buckets"`, too.

    Raises:
        ValueError: If the preset is unknown, or its config damaged.
        FileNotFoundError: If it has no config.
    """
    parts = {"backbone": dict(preset_config(preset))}
    parts |= {"preprocessor": {}, "converter": {}}
    preset = resolve_preset(preset)
    with preset_files.loading(), naming(preset):
        format = format_of(preset)
        if format is not None:
            format.share(preset, parts)
        config = backbone_config(preset, parts["backbone"])
        buckets = buckets_of(preset, parts["preprocessor"])
    return config if buckets is None else {**config, "buckets": buckets}


def _settled(kwargs):
    """Arguments whose default depends on where they are asked."""
    if kwargs.get("device") is None:
        kwargs["device"] = default_device()
    if kwargs.get("target_layer_names") is None:
        kwargs["target_layer_names"] = ("query", "value")
    return kwargs


def default_device():
    """`"tpu"` on one, else `"gpu"`."""
    if keras.config.backend() == "jax":
        import jax

        return "tpu" if jax.default_backend() == "tpu" else "gpu"
    return "gpu"


def count_slots(optimizer):
    """How many numbers an optimizer keeps for each weight that is trained.

    Args:
        optimizer: Int, or what `keras.optimizers.get` takes. Moments, an
            average of weights and gradients that are accumulated count.

    Raises:
        ValueError: If it is none of these.
    """
    if is_int(optimizer, 0, 100):
        return int(optimizer)
    try:
        optimizer = keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`optimizer` must be an optimizer, its name, or the number of "
            "values it keeps for each weight, from 0 to 100. Received: "
            f"optimizer={optimizer!r}."
        ) from error
    copy = type(optimizer).from_config(optimizer.get_config())
    shape = (3, 5)
    copy.build([keras.Variable(np.zeros(shape, "float32"))])
    return sum(tuple(v.shape) == shape for v in copy.variables)
