"""What decides which vision tokens stay: one argument, `pruning`.

A `Ranking` scores the blocks of a video, in one of two places; the best stay.
A `Merging`, such as `ToMe`, merges patches instead. `FastV` and `Feather` prune
inside the language model, alone or after one of the others. Your own method
is a subclass of `Ranking`, `Merging` or `language.LanguagePruning`.
"""

import keras

from keras_stts.pruning import language
from keras_stts.pruning.language import FastV
from keras_stts.pruning.language import Feather
from keras_stts.pruning.merging import Merging
from keras_stts.pruning.merging import ToMe
from keras_stts.pruning.ranking import EVS
from keras_stts.pruning.ranking import STTS
from keras_stts.pruning.ranking import FrameSimilarity
from keras_stts.pruning.ranking import Random
from keras_stts.pruning.ranking import Ranking
from keras_stts.pruning.vidcom2 import VidCom2

__all__ = [
    "EVS",
    "FastV",
    "Feather",
    "FrameSimilarity",
    "METHODS",
    "Merging",
    "Random",
    "Ranking",
    "STTS",
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


def get(pruning):
    """A pruning method by its name, by its config, or as it is.

    Args:
        pruning: Str, one of `METHODS`; dict, from `serialize`; or a `Ranking`
            or `Merging`.

    Raises:
        ValueError: If it is none of these, or of a class that is not
            registered, so that a model of it could not be loaded.
    """
    method = pruning
    if isinstance(pruning, str) and pruning in METHODS:
        return METHODS[pruning]()
    if isinstance(pruning, dict):
        method = keras.saving.deserialize_keras_object(pruning)
    if isinstance(method, (Ranking, Merging)):
        return language.check_registered(method)
    raise ValueError(
        f"`pruning` must be one of {', '.join([*METHODS, *language.METHODS])}, "
        "an instance of one of their classes or of your own subclass of "
        "`keras_stts.pruning.Ranking` or `Merging`. Received: "
        f"pruning={pruning!r}."
    )


def split(pruning):
    """Tuple of what is before the language model and what is inside of it.

    Args:
        pruning: `None`, what `get` takes, what `keras_stts.pruning.language.
            get` takes, or a list or tuple of one of each.

    Returns:
        Tuple (method, language pruning), `None` where there is none.

    Raises:
        ValueError: If there are two of a kind, or an unknown one.
    """
    found = {True: None, False: None}
    several = isinstance(pruning, (list, tuple))
    for one in pruning if several else [pruning]:
        inside = _is_inside(one)
        if found[inside] is not None:
            raise ValueError(
                "`pruning` may be one method before the language model and one "
                f"inside of it. Received: pruning={pruning!r}."
            )
        if one is not None:
            found[inside] = language.get(one) if inside else get(one)
    return found[False], found[True]


def _is_inside(pruning):
    if isinstance(pruning, dict):
        pruning = keras.saving.deserialize_keras_object(pruning)
    if isinstance(pruning, str):
        return pruning in language.METHODS
    return isinstance(pruning, language.LanguagePruning)


def serialize(pruning):
    """What configs hold of a pruning method: a name, or the method's config."""
    if not isinstance(pruning, (Ranking, Merging)):
        return pruning
    for name, cls in METHODS.items():
        if type(pruning) is cls and pruning.get_config() == cls().get_config():
            return name
    config = keras.saving.serialize_keras_object(pruning)
    # Keras numbers objects while a file is written or read, even later.
    return {k: v for k, v in config.items() if k != "shared_object_id"}
