"""LoRA factors of a model's layers, and files of them."""

import h5py
import keras
from keras import ops

from keras_stts import _hub_compat as hub
from keras_stts.presets import migration
from keras_stts.presets import safe_hdf5

ENDING = ".lora.h5"
FACTORS = ("lora_kernel_a", "lora_kernel_b")


def enable(model, method, rank, names):
    """Freeze a model but for factors of some layers, and what prunes it.

    Args:
        model: Keras model.
        method: The `PruningMethod` of it, which gets no factors and is
            trained whole, if it prunes.
        rank: Int. Rank of the factors.
        names: Strs, names or paths of layers.

    Raises:
        ValueError: If a name is none of a layer that can have factors.
    """
    layers = _layers(model, method)
    known = {*layers, *(layer.name for layer in layers.values())}
    unknown = sorted(set(names) - known)
    if unknown or not names:
        raise ValueError(
            "`target_layer_names` must name layers of the model that can have "
            f"factors. Received: {list(names)}, of which "
            f"{', '.join(unknown) or 'there is none'} is unknown. Known are "
            f"{', '.join(sorted({n.split('/')[-1] for n in known}))}."
        )
    for layer in hub.flatten_layers(model, include_self=False):
        layer.trainable = False
    for path, layer in layers.items():
        if path in names or layer.name in names:
            layer.trainable = True
            layer.enable_lora(rank)
            if getattr(layer, "bias", None) is not None:
                layer.bias.trainable = False
    method.trainable = method.runs


def _layers(model, method):
    """Dict of path to layer that can have factors."""
    whole = {id(layer) for layer in hub.flatten_layers(method)}
    return {
        layer.path: layer
        for layer in hub.flatten_layers(model, include_self=False)
        if hasattr(layer, "lora_enabled")
        and layer.weights
        and id(layer) not in whole
    }


def _enabled(model, method):
    layers = _layers(model, method).items()
    return {p: layer for p, layer in layers if layer.lora_enabled}


def adapted_name(layer):
    """What a layer calls the weight that its factors are added to."""
    embeds = isinstance(layer, keras.layers.Embedding)
    return "embeddings" if embeds else "kernel"


def _factors_of(layer):
    """The two factors of a layer; files call all of them a kernel's."""
    name = adapted_name(layer)
    return [getattr(layer, f"lora_{name}_{side}") for side in "ab"]


def save(model, method, filepath):
    """Write factors and the method's weights to a file.

    Raises:
        ValueError: If the name ends otherwise, or no layer has factors.
        OSError: If it cannot be written, such as on a full disk. Then a file
            that was there is as it was.
    """
    if not str(filepath).endswith(ENDING):
        raise ValueError(
            f"The name of a file of LoRA weights must end in `{ENDING}`. "
            f"Received: filepath={filepath}."
        )
    layers = _enabled(model, method)
    if not layers:
        raise ValueError(
            "Only a model with LoRA factors can save them. Received: a model "
            "without any. Call `enable_lora(rank)` before."
        )
    with safe_hdf5.replacing(filepath) as part, safe_hdf5.File(part) as file:
        for path, layer in layers.items():
            for name, value in zip(FACTORS, _factors_of(layer)):
                file[f"lora/{path}/{name}"] = _as_float32(value)
        for i, weight in enumerate(method.weights):
            file[f"scorer/{i}"] = _as_float32(weight)


def _as_float32(variable):
    return ops.convert_to_numpy(ops.cast(variable, "float32"))


def read(filepath):
    """Tuple of factors, dict of layer's path to two arrays, and of the
    weights of the method of pruning, list of arrays.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, refers to other files, or holds no LoRA
            weights.
    """
    safe_hdf5.check(filepath)
    factors, scorer = {}, {}

    def visit(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        part, *path, last = name.split("/")
        if part == "lora" and last in FACTORS:
            path = migration.layer_path("/".join(path))
            factors.setdefault(path, {})[last] = item[()]
        elif part == "scorer" and last.isdecimal():
            scorer[int(last)] = item[()]

    with h5py.File(filepath) as file:
        file.visititems(visit)
    whole = all(set(arrays) == set(FACTORS) for arrays in factors.values())
    if not (factors and whole):
        raise ValueError(
            "A file of LoRA weights holds factors, as `save_lora_weights` "
            f"writes them. Received: {filepath}, which "
            "does not. Save it again."
        )
    factors = {
        path: tuple(arrays[name] for name in FACTORS)
        for path, arrays in factors.items()
    }
    return factors, [scorer[i] for i in sorted(scorer)]


def load(model, method, filepath, enable):
    """Load what `save` wrote.

    Args:
        model: Keras model, with the factors of the file or none.
        method: The `PruningMethod` of it. Weights of another method are left.
        filepath: Path.
        enable: Function of rank and paths, that gives layers factors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another model, or of other factors.
    """
    factors, whole = read(filepath)
    layers = _layers(model, method)
    enabled = set(_enabled(model, method))
    unknown = sorted(set(factors) - (enabled or set(layers)))
    missing = sorted(enabled - set(factors))
    if unknown or missing:
        raise ValueError(
            "Model and file of LoRA weights must have factors of the same "
            f"layers. Received: filepath={filepath}, in which "
            f"{', '.join(missing) or 'nothing'} is missing and "
            f"{', '.join(unknown) or 'nothing'} is unknown. Load it into the "
            "model it was saved of, before `enable_lora` or after the same."
        )
    if not enabled:
        first, _ = next(iter(factors.values()))
        enable(first.shape[-1], list(factors))
    wanted = [
        pair
        for path, values in factors.items()
        for pair in zip(_factors_of(layers[path]), values)
    ]
    if len(whole) == len(method.weights):
        wanted += list(zip(method.weights, whole))
    for variable, value in wanted:
        if tuple(variable.shape) != value.shape:
            raise ValueError(
                "LoRA weights must have the shapes of the model's, of the same "
                f"rank. Received: filepath={filepath}, with shape "
                f"{value.shape} for `{variable.path}` of shape "
                f"{tuple(variable.shape)}."
            )
    for variable, value in wanted:
        variable.assign(value)
