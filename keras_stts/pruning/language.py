"""Pruning inside the language model: FastV and FEATHER.

Before some of its layers the language model drops the tokens of the video
that the last token of the prompt pays least attention in the layer before.
The rest keeps the positions it had, and no later layer sees what was dropped.
"""

import functools
import math
from collections import namedtuple

import keras

from keras_stts.pruning.checks import check_method
from keras_stts.pruning.language_tokens import attention_ranks
from keras_stts.pruning.language_tokens import grid_of
from keras_stts.pruning.language_tokens import prune_tokens
from keras_stts.pruning.method import PruningMethod


class Stage(namedtuple("Stage", ["layer", "ratio", "stride"], defaults=[None])):
    """One pruning of the tokens of a video.

    Attributes:
        layer: Int, at least 1. The first layer, from 0, that runs on what is
            kept; the attention of the layer before decides.
        ratio: Float in [0, 1). Share of the video's tokens dropped, of those
            that earlier stages left.
        stride: Optional int. Every so many rows and columns of a frame the
            token is kept beside those, whatever its rank.
    """

    def num_kept(self, num_tokens, grid):
        """Tokens that stay of `num_tokens`.

        `int((1 - ratio) * num_tokens)`, guarded against round-off, and, with
        a stride, as many as the grid has: the published code keeps the union
        of both, whose size depends on how much they overlap. Here it has the
        size it has if they do not, so all of the union is kept, and the best
        of the rest.

        Args:
            num_tokens: Int.
            grid: Tuple of ints, rows and columns of the tokens of a frame.
        """
        kept = math.floor((1 - self.ratio) * num_tokens + 1e-6)
        if self.stride is not None:
            rows, columns = (math.ceil(n / self.stride) for n in grid)
            share = rows * columns / (grid[0] * grid[1])
            kept += math.ceil(share * num_tokens - 1e-6)
        return min(kept, num_tokens)


class LanguagePruning(PruningMethod):
    """Stages of pruning inside the language model.

    The base class of such methods: a subclass says how many tokens are
    dropped where, by its stages, and may say which, by `rank`.

    Args:
        stages: List of `keras_stts.pruning.Stage`, from the first layer to
            the last.
        rope: Bool. Whether queries and keys are rotated to rank the tokens.

    Example:
    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Strongest(keras_stts.pruning.LanguagePruning):
        '''A token stays if one head, whichever, attends to it.'''

        def __init__(self, layer=1):
            super().__init__([keras_stts.pruning.Stage(layer, ratio=0.5)])
            self.layer = layer

        def rank(self, logits, ranked):
            return keras.ops.max(logits, axis=1)

        def get_config(self):
            return {"layer": self.layer}

    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", pruning=["stts", Strongest()], prune_ratio=0.5
    )
    ```
    """

    place = "language_model"

    def __init__(self, stages, *, rope=False):
        super().__init__(name="language_pruning")
        for stage in stages:
            _check_stage(stage)
        layers = [stage.layer for stage in stages]
        if sorted(set(layers)) != layers:
            raise ValueError(
                "Each stage of pruning must come after the one before. "
                f"Received: stages at layers {layers}."
            )
        self.stages = list(stages)
        self.rope = rope

    def after_layers(self, shown, format, prompt_mask):
        """What prunes after which layer, see `LanguageModel.run`.

        Args:
            shown: `keras_stts.pruning.language_tokens.Shown`.
            format: `keras_stts.models.SequenceFormat`.
            prompt_mask: Bool tensor (B, S'), True at the prompt.

        Returns:
            Dict of the number of a layer to a function.
        """
        counts = self.counts(shown.most, grid_of(shown, format))
        return {
            stage.layer - 1: functools.partial(
                prune_tokens,
                stage,
                self,
                format,
                shown._replace(most=count),
                prompt_mask,
            )
            for stage, count in zip(self.stages, counts)
        }

    def rank(self, logits, ranked):
        """How much each token of the video is worth.

        Args:
            logits: Float32 tensor (B, heads, S), what the last token of the
                prompt makes of all tokens in the layer before.
            ranked: Bool tensor (B, S), the tokens that can be dropped.

        Returns:
            Float32 tensor (B, S), higher is better; what tokens get that
            cannot be dropped does not matter. Defaults to the share of
            attention, the mean over heads.
        """
        return attention_ranks(logits, ranked)

    def counts(self, num_tokens, grid):
        """Tokens before the first stage and after each: list of ints."""
        counts = [num_tokens]
        for stage in self.stages:
            counts.append(stage.num_kept(counts[-1], grid))
        return counts


@keras.saving.register_keras_serializable(package="keras_stts")
class FastV(LanguagePruning):
    """Keeps the tokens that the prompt's last token attends to most.

    Attention is shared out among the tokens of the video alone, as in the code
    of FEATHER's authors, with which the tests compare; FastV's shares it out
    among all tokens of the sequence.

    Args:
        layer: Int. First layer of the language model, from 0, that runs on
            what is kept. Defaults to `3`.
        ratio: Float in [0, 1). Share of the video's tokens dropped. Defaults
            to `0.75`.
        rope: Bool. Whether tokens are ranked with the rotary embedding, as
            published, which favours those near the end. `"fastv_norope"`
            stands for `FastV(rope=False)`. Defaults to `True`.

    References:
        FastV (arXiv 2403.06764); without rotary embedding: FEATHER (arXiv
        2412.13180).
    """

    def __init__(self, layer=3, ratio=0.75, *, rope=True):
        super().__init__([Stage(layer, ratio)], rope=rope)
        self.layer = layer
        self.ratio = ratio

    def get_config(self):
        return {"layer": self.layer, "ratio": self.ratio, "rope": self.rope}


@keras.saving.register_keras_serializable(package="keras_stts")
class Feather(LanguagePruning):
    """Prunes twice, ranked without rotary embedding, first beside a grid.

    The first stage keeps the share `1 - ratio` that ranks best and a uniform
    grid, the second the share `(1 - ratio)**2` of these, by rank alone. The
    published code keeps as many of the first stage's union, whose size
    depends on the data; here it is that of the two without overlap, see
    `Stage.num_kept`. Of a video from which blocks were pruned
    before, the cells of the grid that are left are kept.

    Args:
        layers: Two ints, the first layers, from 0, that run on what either
            stage keeps. Defaults to `(8, 16)`.
        ratio: Float in [0, 1). Defaults to `0.7`.
        stride: Int. Rows and columns from one cell of the grid to the next.
            Defaults to `3`.

    Example:
    ```python
    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny",
        pruning=["stts", keras_stts.pruning.Feather(layers=(1, 2))],
    )
    clip = keras_stts.datasets.shapes.render("test", 0)
    question = clip.questions[0]["question"]
    model.generate({"videos": [clip.frames], "prompts": [question]})
    ```

    Reference:
        FEATHER (arXiv 2412.13180).
    """

    def __init__(self, layers=(8, 16), ratio=0.7, stride=3):
        if not isinstance(layers, (list, tuple)) or len(layers) != 2:
            raise ValueError(
                "FEATHER prunes before two layers, so `layers` must be two "
                f"ints. Received: layers={layers!r}."
            )
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(
                f"`stride` must be a positive int. Received: stride={stride!r}."
            )
        _check_stage(Stage(layers[0], ratio))
        super().__init__(
            [
                Stage(layers[0], ratio, stride),
                Stage(layers[1], 1 - (1 - ratio) ** 2),
            ],
            rope=False,
        )
        self.layers = list(layers)
        self.ratio = ratio
        self.stride = stride

    def get_config(self):
        return {
            "layers": self.layers,
            "ratio": self.ratio,
            "stride": self.stride,
        }


METHODS = {
    "fastv": FastV,
    "fastv_norope": functools.partial(FastV, rope=False),
    "feather": Feather,
}


def is_inside(identifier):
    """Whether an argument stands for pruning inside the language model."""
    if isinstance(identifier, str):
        return identifier.lower() in METHODS
    if isinstance(identifier, dict):
        name = identifier.get("class_name")
        named = isinstance(name, str) and name.lower() in METHODS
        return named and "registered_name" not in identifier
    return isinstance(identifier, LanguagePruning)


def get(identifier):
    """The pruning inside the language model that an argument stands for.

    Args:
        identifier: `None`, a `LanguagePruning`, a str of `METHODS`, or a dict
            of `"class_name"`, one of these, and `"config"`, its settings.

    Returns:
        A `LanguagePruning`, or `None`.

    Raises:
        ValueError: If there is no such method, or its class is not
            registered.
    """
    if identifier is None:
        return None
    if isinstance(identifier, LanguagePruning):
        return check_method(identifier)
    name, config = identifier, {}
    if isinstance(identifier, dict):
        if "registered_name" in identifier:
            return get(keras.saving.deserialize_keras_object(identifier))
        name = identifier.get("class_name")
        config = identifier.get("config", {})
    if not isinstance(name, str) or name.lower() not in METHODS:
        raise ValueError(
            f"`language_pruning` must be one of {', '.join(METHODS)}, a dict "
            'of its "class_name" and "config", or a `LanguagePruning`. '
            f"Received: {identifier!r}."
        )
    return METHODS[name.lower()](**config)


def _check_stage(stage):
    if not isinstance(stage.layer, int) or stage.layer < 1:
        raise ValueError(
            "Tokens are ranked by the layer before, so the first layer that "
            "runs on fewer, counted from 0, must be an int of at least 1. "
            f"Received: {stage.layer!r}."
        )
    if not 0 <= stage.ratio < 1:
        raise ValueError(
            "`ratio` is the share of a video's tokens dropped and must lie in "
            f"[0, 1). Received: ratio={stage.ratio!r}."
        )
