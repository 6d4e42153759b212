import inspect
import numbers

import keras

from keras_stts.ops import Frames

PLACES = ("vision_encoder", "connector")
RATIO, LAYER = 0.5, 3
SETTINGS = ("ratio", "place", "layer", "refill")


class PruningMethod(keras.layers.Layer):
    """What a model prunes by; this one keeps everything.

    The base class of `Ranking`, `Merging` and `LanguagePruning`. A method
    holds all about itself: its ratio and its place, what scores the tokens,
    weights and losses, the number of operations. A model tells it what it
    must know by `attach` and runs it by `encode` and `after_connector`.

    Args:
        ratio: Optional float in [0, 1). Share of the video's tokens that are
            pruned; at 0 nothing is run, and weights are kept. Defaults to the
            `prune_ratio` of the model, or `0.5`.

    Attributes:
        place: Str, where the method prunes.
        prunes_blocks: Bool. Whether blocks leave before the language model.
        runs: Bool. Whether an attached method has anything to prune.
    """

    place = PLACES[0]
    prunes_blocks = False

    def __init__(self, ratio=None, *, name="pruning"):
        super().__init__(name=name, dtype="float32")
        _check_ratio(ratio)
        self.ratio = ratio
        self.runs = False

    @property
    def saved_as(self):
        """What a file of weights calls it: methods do not share weights."""
        return f"{self.name}_{type(self).__name__.lower()}"

    def settle(self, **settings):
        """Give settings that were left open, such as `ratio`, a value."""
        for name, value in settings.items():
            if getattr(self, name, value) is None:
                setattr(self, name, value)
        _check_ratio(self.ratio)

    def attach(self, tower, embedding_dim, num_frames, num_segments=1):
        """Get ready for a model: make the weights.

        Args:
            tower: The `keras_stts.towers.VisionTower` that the frames go
                through.
            embedding_dim: Int. Width of the connector's outputs.
            num_frames: Int T. Frames of a row; 0 if the model takes none.
            num_segments: Int. Most videos of a row.
        """
        self.build(None)

    def build(self, input_shape):
        self.built = True

    def encode(self, tower, x, frames=Frames()):
        """Run the layers of a vision tower.

        Args:
            tower: A `keras_stts.towers.VisionTower`.
            x: Tensor (B, T, N, D), embedded patches.
            frames: `keras_stts.ops.Frames`, what is known of them.

        Returns:
            Dict, see `keras_stts.towers.VisionTower`.
        """
        return tower.encode_whole(x, frames)

    def after_connector(self, vision, frames=Frames()):
        """Prune what the connector made.

        Args:
            vision: Dict of what `encode` returned and of `"embeddings"`,
                tensor (B, K, embedding_dim).
            frames: See `encode`.

        Returns:
            Dict as `vision`.
        """
        return vision

    def flops(self, num_frames, num_blocks, width):
        """Floating point operations of the method itself, for a row.

        Args:
            num_frames: Int T.
            num_blocks: Int P.
            width: Int F, of what a block is scored by; of a
                `LanguagePruning`, of the language model's tokens.

        Returns:
            Number. Defaults to 0.
        """
        return 0

    def weight_shapes(self, sizes):
        """Shapes of its weights in a model that is not made.

        Args:
            sizes: Dict of names of `keras_stts.models.sizes`.

        Returns:
            Dict of paths of weights, from the method on, to tuples of ints.
            Defaults to none.
        """
        return {}

    def auxiliary_loss(self, coefficient, **kwargs):
        """The layer that adds the temporal loss of a model, or `None`.

        Args:
            coefficient: See `keras_stts.layers.AuxiliaryLoss`.
            **kwargs: Other arguments of that layer.
        """
        return None

    def get_build_config(self):
        """None: a config holds the settings alone."""

    def get_config(self):
        return {"ratio": self.ratio}

    @classmethod
    def from_config(cls, config):
        """A method of its config.

        Settings of this package's base classes that the constructor of a
        subclass does not take are set afterwards.
        """
        parameters = inspect.signature(cls.__init__).parameters
        kinds = {each.kind for each in parameters.values()}
        later = {}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            names = set(SETTINGS) - set(parameters)
            later = {name: config[name] for name in names & set(config)}
        method = cls(**{n: config[n] for n in config if n not in later})
        for name, value in later.items():
            setattr(method, name, value)
        return method


def _check_ratio(ratio):
    if ratio is None:
        return
    if not isinstance(ratio, numbers.Real) or not 0 <= ratio < 1:
        raise ValueError(
            "`prune_ratio`, the `ratio` of a method of pruning, is the share "
            "of a video's blocks that are pruned and must lie in [0, 1). "
            f"Received: prune_ratio={ratio!r}."
        )
