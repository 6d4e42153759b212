"""Keras layers of STTS, for any vision transformer."""

from keras_stts.layers.auxiliary_loss import AuxiliaryLoss
from keras_stts.layers.ragged_packing import RaggedPacking
from keras_stts.layers.score_bias import ScoreBias
from keras_stts.layers.scorer_mlp import ScorerMLP
from keras_stts.layers.token_pooler import TokenPooler
from keras_stts.layers.token_pruning import TokenPruning
from keras_stts.layers.token_scorer import TokenScorer

__all__ = [
    "AuxiliaryLoss",
    "RaggedPacking",
    "ScoreBias",
    "ScorerMLP",
    "TokenPooler",
    "TokenPruning",
    "TokenScorer",
]
