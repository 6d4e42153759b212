"""What version 0.1 saved, under today's names.

Its decoder blocks stood in the graph of the backbone; now they are the
language model's.
"""

import os
import re

import h5py
import keras

from keras_stts import _hub_compat as hub
from keras_stts.presets.parsing import parse_json
from keras_stts.presets.parsing import text_of

BACKBONE = "layers/video_vlm_backbone"
# Where the scorer was, whatever pruned.
SCORER = "layers/vision_encoder/scorer"
# Start of today's names in a file of weights, and what they were.
GROUPS = {
    "pruning_stts/scorer/": f"{SCORER}/",
    "language_model/transformer_layers/": "layers/",
    "language_model/token_embedding": "layers/embedding",
    "language_model/layer_norm": "layers/rms_normalization",
}
# Paths of layers that have been moved into the language model.
MOVED = re.compile(r"(transformer_layer_\d+|token_embedding|layer_norm)(/|$)")


def load_weights(model, filepath, **kwargs):
    """Load the weights of a backbone or task from a file of either version.

    Args:
        model: Keras model.
        filepath: Path. Only local ones that end in `.h5` or `.json` can be of
            version 0.1.
        **kwargs: See `keras.Model.load_weights`.

    Returns:
        Bool. Whether the file was of version 0.1; a newer one is not read.
    """
    if not _is_old(filepath):
        return False
    hub.load_renamed(model, filepath, old_group, **kwargs)
    return True


def _is_old(filepath):
    filepath = os.fspath(filepath)
    if "://" in filepath or not filepath.endswith((".h5", ".json")):
        return False
    old = re.compile(rf"/?({BACKBONE}/)?layers/decoder_block(/|$)")
    if filepath.endswith(".json"):
        index = parse_json(text_of(filepath, filepath), filepath)
        return any(old.match(name) for name in index["weight_map"])
    with h5py.File(filepath) as file:
        names = ("layers/decoder_block", f"{BACKBONE}/layers/decoder_block")
        return any(name in file for name in names)


def old_group(path):
    """The name that version 0.1 had for a group of a file of weights."""
    inside, found, rest = path.partition("layers/forward/")
    if not found:
        return path
    for new, old in GROUPS.items():
        if rest.startswith(new):
            return inside + old + rest.removeprefix(new)
    return f"{inside}layers/{rest}"


def layer_path(path):
    """Today's path of a layer that a file of LoRA factors names."""
    if path.startswith("vision_encoder/scorer"):
        return path.replace("vision_encoder", "pruning", 1)
    return f"language_model/{path}" if MOVED.match(path) else path


def dtype_policy(policy):
    """A backbone's dtype policy, with today's paths if it has several.

    Args:
        policy: `keras.DTypePolicy`, or the config of one.
    """
    if isinstance(policy, dict):
        policy = keras.dtype_policies.deserialize(policy)
    if not isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        return policy
    return keras.dtype_policies.DTypePolicyMap(
        default_policy=policy.default_policy,
        policy_map={layer_path(path): policy[path] for path in policy},
    )
