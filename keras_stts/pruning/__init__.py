"""What decides which vision tokens stay: one argument, `pruning`.

A `Ranking` scores the blocks of a video, in one of two places; the best stay.
A `Merging`, such as `ToMe`, merges patches instead. `FastV` and `Feather` prune
inside the language model, alone or after one of the others. Your own method
is a subclass of `Ranking`, `Merging` or `LanguagePruning`.
"""

import keras

from keras_stts.pruning import language
from keras_stts.pruning.checks import check_method
from keras_stts.pruning.heuristics import EVS
from keras_stts.pruning.heuristics import FrameSimilarity
from keras_stts.pruning.heuristics import Random
from keras_stts.pruning.language import FastV
from keras_stts.pruning.language import Feather
from keras_stts.pruning.language import LanguagePruning
from keras_stts.pruning.language import Stage
from keras_stts.pruning.merging import Merging
from keras_stts.pruning.merging import ToMe
from keras_stts.pruning.method import PruningMethod
from keras_stts.pruning.ranking import Ranking
from keras_stts.pruning.stts import STTS
from keras_stts.pruning.vidcom2 import VidCom2

__all__ = [
    "EVS",
    "FastV",
    "Feather",
    "FrameSimilarity",
    "LanguagePruning",
    "METHODS",
    "Merging",
    "PruningMethod",
    "Random",
    "Ranking",
    "STTS",
    "Stage",
    "ToMe",
    "VidCom2",
    "get",
    "serialize",
    "split",
]

METHODS = {
    "stts": STTS,
    "random": Random,
    "frame_similarity": FrameSimilarity,
    "evs": EVS,
    "vidcom2": VidCom2,
    "tome": ToMe,
}
# What a model's own arguments say of a method.
SHARED = ("ratio", "layer", "refill", "rescale_axis", "rescale_min")


def get(pruning):
    """A pruning method by its name, by its config, or as it is.

    Args:
        pruning: Str, one of `METHODS` or `language.METHODS`; dict, what
            `serialize` returned; a `PruningMethod`; or `None` for one that
            keeps everything.

    Raises:
        ValueError: If it is none of these, or of a class that is not
            registered, so that a model of it could not be loaded.
    """
    if pruning is None:
        return PruningMethod(ratio=0.0)
    if isinstance(pruning, str) and pruning in METHODS:
        return METHODS[pruning]()
    if language.is_inside(pruning):
        return language.get(pruning)
    method = pruning
    if isinstance(pruning, dict):
        method = keras.saving.deserialize_keras_object(pruning)
    if type(method) is PruningMethod:
        return method
    if isinstance(method, PruningMethod):
        return check_method(method)
    raise ValueError(
        f"`pruning` must be one of {', '.join([*METHODS, *language.METHODS])}, "
        "an instance of one of their classes or of your own subclass of "
        "`keras_stts.pruning.Ranking`, `Merging` or `LanguagePruning`. "
        f"Received: pruning={pruning!r}."
    )


def split(pruning):
    """Tuple of what is before the language model and what is inside of it.

    Args:
        pruning: What `get` takes, or a list or tuple of one method before the
            language model and one inside of it.

    Returns:
        Tuple (method, language pruning); where there is none, a method that
        keeps everything and `None`.

    Raises:
        ValueError: If there are two of a kind, or an unknown one.
    """
    found = {True: None, False: None}
    several = isinstance(pruning, (list, tuple))
    for one in pruning if several else [pruning]:
        if one is None:
            continue
        method = get(one)
        inside = isinstance(method, LanguagePruning)
        if found[inside] is not None:
            raise ValueError(
                "`pruning` may be one method before the language model and one "
                f"inside of it. Received: pruning={pruning!r}."
            )
        found[inside] = method
    return found[False] or get(None), found[True]


def serialize(method):
    """What is shown of a method: a name, or a config of the settings that are
    its own; `None` of one that keeps everything.

    Args:
        method: What `get` takes.
    """
    method = get(method)
    if type(method) is PruningMethod:
        return None
    for name, cls in METHODS.items():
        if type(method) is cls and _own(method) == _own(cls()):
            return name
    config = config_of(method)
    return {**config, "config": _own(method)}


def configs_of(*methods):
    """List of the configs of methods, of those that prune: see `split`."""
    return [
        config_of(method)
        for method in methods
        if method is not None and type(method) is not PruningMethod
    ]


def config_of(method):
    """Config of a method with all its settings, for `get`."""
    config = keras.saving.serialize_keras_object(method)
    # Keras numbers objects while a file is written or read, even later.
    return {k: v for k, v in config.items() if k != "shared_object_id"}


def _own(method):
    config = method.get_config()
    inside = isinstance(method, LanguagePruning)
    return {k: v for k, v in config.items() if inside or k not in SHARED}
