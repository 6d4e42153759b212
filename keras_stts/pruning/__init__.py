"""What decides which vision tokens stay: one argument, `pruning`.

A `Ranking` scores the blocks of a video, in one of two places; the best stay.
`ToMe` merges patches instead.
"""

import keras

from keras_stts.pruning.ranking import EVS
from keras_stts.pruning.ranking import STTS
from keras_stts.pruning.ranking import FrameSimilarity
from keras_stts.pruning.ranking import Random
from keras_stts.pruning.ranking import Ranking
from keras_stts.pruning.tome import ToMe
from keras_stts.pruning.vidcom2 import VidCom2

__all__ = [
    "EVS",
    "FrameSimilarity",
    "METHODS",
    "Random",
    "Ranking",
    "STTS",
    "ToMe",
    "VidCom2",
    "get",
    "serialize",
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
            or `ToMe`.

    Raises:
        ValueError: If it is none of these.
    """
    method = pruning
    if isinstance(pruning, str) and pruning in METHODS:
        return METHODS[pruning]()
    if isinstance(pruning, dict):
        method = keras.saving.deserialize_keras_object(pruning)
    if isinstance(method, (Ranking, ToMe)):
        return method
    raise ValueError(
        f"`pruning` must be one of {', '.join(METHODS)}, an instance of one "
        "of their classes or of your own subclass of "
        f"`keras_stts.pruning.Ranking`. Received: pruning={pruning!r}."
    )


def serialize(pruning):
    """What configs hold of a pruning method: a name, or the method's config."""
    if isinstance(pruning, (Ranking, ToMe)):
        return keras.saving.serialize_keras_object(pruning)
    return pruning
