"""Pruning inside the language model: FastV and FEATHER.

Before some of its blocks the language model drops the tokens of the video
that the last token of the prompt pays least attention in the block before.
The rest keeps the positions it had, and no later block sees what was dropped.
"""

import functools
import math
from collections import namedtuple

import keras
from keras import ops

from keras_stts.ops import pack_blocks
from keras_stts.ops.packing import known_before_the_run
from keras_stts.ops.places import places_of
from keras_stts.ops.reach import as_dict
from keras_stts.ops.reach import reach_spec
from keras_stts.ops.sequence import Sequence
from keras_stts.ops.sequence import vision_reach


class Stage(namedtuple("Stage", ["layer", "ratio", "stride"], defaults=[None])):
    """One pruning of the tokens of a video.

    Attributes:
        layer: Int, at least 1. The first block, from 0, that runs on what is
            kept; the attention of the block before decides.
        ratio: Float in [0, 1). Share of the tokens dropped.
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


class LanguagePruning:
    """Stages of pruning inside the language model.

    Args:
        stages: List of `Stage`, from the first block to the last.
        rope: Bool. Whether queries and keys are rotated to rank the tokens.
    """

    def __init__(self, stages, rope):
        for stage in stages:
            _check_stage(stage)
        layers = [stage.layer for stage in stages]
        if sorted(set(layers)) != layers:
            raise ValueError(
                "Each stage of pruning must come after the one before. "
                f"Received: stages at blocks {layers}."
            )
        self.stages = list(stages)
        self.rope = rope

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
        layer: Int. First block of the language model, from 0, that runs on
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

    def __init__(self, layer=3, ratio=0.75, rope=True):
        super().__init__([Stage(layer, ratio)], rope)
        self.layer = layer
        self.ratio = ratio

    def get_config(self):
        return {"layer": self.layer, "ratio": self.ratio, "rope": self.rope}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


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
        layers: Two ints, the first blocks, from 0, that run on what either
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
                "FEATHER prunes before two blocks, so `layers` must be two "
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

    @classmethod
    def from_config(cls, config):
        return cls(**config)


METHODS = {
    "fastv": FastV,
    "fastv_norope": functools.partial(FastV, rope=False),
    "feather": Feather,
}


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
        return check_registered(identifier)
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


def check_registered(method):
    """The method, if a model of it can be saved and loaded.

    Raises:
        ValueError: If its class is not registered with Keras.
    """
    name = keras.saving.get_registered_name(type(method))
    if keras.saving.get_registered_object(name) is not type(method):
        raise ValueError(
            "A class of pruning must be registered, or the model can be saved "
            f"but not loaded. Received: {type(method).__name__}. Write "
            '`@keras.saving.register_keras_serializable("my_project")` above '
            "it."
        )
    return method


def attention_logits(query, key):
    """What one query makes of all keys.

    Args:
        query: Tensor (B, 1, heads, head_dim).
        key: Tensor (B, S, key_heads, head_dim), `key_heads` divides `heads`.

    Returns:
        Float32 tensor (B, heads, S).
    """
    _, _, heads, head_dim = query.shape
    key_heads = key.shape[2]
    shape = (-1, key_heads, heads // key_heads, head_dim)
    query = ops.reshape(query * head_dim**-0.5, shape)
    logits = ops.einsum("bkgd,bskd->bkgs", query, key)
    logits = ops.reshape(logits, (-1, heads, key.shape[1]))
    return ops.cast(logits, "float32")


def attention_ranks(logits, ranked):
    """Share of its attention that the query pays each ranked token.

    Args:
        logits: Float32 tensor (B, heads, S).
        ranked: Bool tensor (B, S), the tokens among which it is shared out.

    Returns:
        Float32 tensor (B, S), the mean over heads; 0 at other tokens. No
        gradient flows through it.
    """
    logits = ops.where(ranked[:, None], ops.stop_gradient(logits), -1e30)
    shares = ops.mean(ops.softmax(logits, axis=-1), axis=1)
    return ops.where(ranked, shares, 0.0)


def tokens_that_stay(ranks, ranked, num_kept, first=None):
    """Choose the highest-ranked tokens of each sequence.

    Args:
        ranks: Float32 tensor (B, S) in [0, 1]. Of equal ones the earlier
            token stays.
        ranked: Bool tensor (B, S), the tokens there are to choose from.
        num_kept: Int32 tensor (B,), how many of them stay.
        first: Optional bool tensor (B, S), those chosen before all others.

    Returns:
        Bool tensor (B, S), True at the chosen tokens.
    """
    if first is not None:
        ranks = ops.where(first, ranks + 2.0, ranks)
    ranks = ops.where(ranked, ranks, -1.0)
    # A stable sort; the argsort of a permutation is its inverse.
    order = ops.argsort(ops.argsort(-ranks, axis=-1), axis=-1)
    return ranked & (ops.cast(order, "int32") < num_kept[:, None])


@keras.saving.register_keras_serializable(package="keras_stts")
class LastToken(keras.layers.Layer):
    """Takes the last token of each prompt.

    Call arguments:
        inputs: Tensor (B, S, D).
        positions: Int32 tensor (B, S).
        prompt_mask: Bool tensor (B, S), True at the prompt, which comes
            first.

    Returns:
        Tuple of tensors (B, 1, D) and (B, 1).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs, positions, prompt_mask):
        count = ops.sum(ops.cast(prompt_mask, "int32"), axis=-1, keepdims=True)
        last = ops.maximum(count - 1, 0)
        return pack_blocks(inputs, last), pack_blocks(positions, last)

    def compute_output_spec(self, inputs, positions, prompt_mask):
        batch, _, width = inputs.shape
        return (
            keras.KerasTensor((batch, 1, width), dtype=self.compute_dtype),
            keras.KerasTensor((batch, 1), dtype="int32"),
        )


class PruneTokens(keras.layers.Layer):
    """Takes the lowest-ranked tokens of a video out of a sequence.

    Args:
        pruning: A `LanguagePruning`.
        stage: Int, which of its stages.
        grid: Tuple of ints, rows and columns of the tokens of a frame.
        placeholder_id: Int. Id of the tokens of videos and images.
        vision_token_ids: Ints. Tokens that see each other both ways.
        image_room: Int. Tokens that images of an example can have; these and
            all that is no placeholder stay.

    Call arguments:
        inputs: Tensor (B, S, D).
        sequence: The `keras_stts.ops.Sequence` of these tokens.
        logits: Float32 tensor (B, heads, S), see `attention_logits`.
        video: Tensor (B, K, D), the tokens of the video before any stage; of
            interest is how many there may be.
        index: Optional int tensor (B, K), the place of each of them among the
            T * P of the video. Defaults to all, in order.

    Returns:
        Tuple (outputs, sequence, reach, places): the tokens that
        stay, in order and with their positions; and, int32 (B, S'), which of
        the T * P blocks of the video each is, -1 if of none. Their number is
        known before the run; a shorter video keeps what it would keep alone,
        and padding comes last.
    """

    def __init__(
        self,
        pruning,
        stage,
        grid,
        placeholder_id,
        vision_token_ids,
        image_room=0,
        **kwargs,
    ):
        # Ranks need the logits as they are.
        super().__init__(autocast=False, **kwargs)
        self.pruning = pruning
        self.stage = stage
        self.grid = tuple(grid)
        self.placeholder_id = placeholder_id
        self.vision_token_ids = tuple(vision_token_ids)
        self.image_room = image_room
        self.built = True

    def call(self, inputs, sequence, logits, video, index=None):
        sequence = Sequence(*sequence)
        stage = self.pruning.stages[self.stage]
        before, after = self.pruning.counts(video.shape[1], self.grid)[
            self.stage : self.stage + 2
        ]
        ranked = self._is_video(sequence)
        table = _kept_table(stage, before, self.grid)
        count = ops.sum(ops.cast(ranked, "int32"), axis=-1)
        chosen = tokens_that_stay(
            attention_ranks(logits, ranked),
            ranked,
            ops.take(ops.convert_to_tensor(table, "int32"), count),
            self._on_grid(sequence, index, stage.stride),
        )
        stay = sequence.mask & (chosen | ops.logical_not(ranked))
        place = places_of(stay, inputs.shape[1] - (before - after))
        kept = [pack_blocks(x, place) for x in sequence._replace(mask=stay)]
        sequence = Sequence(*kept)
        reach = vision_reach(sequence, self.vision_token_ids)
        left = self._is_video(sequence)
        places = ops.where(left, self._places(sequence, index), -1)
        return pack_blocks(inputs, place), sequence, as_dict(reach), places

    def _places(self, sequence, index):
        """Int (B, S): the place of each token of the video among its T * P."""
        place = ops.maximum(sequence.block - self.image_room, 0)
        if index is not None:
            place = ops.minimum(place, index.shape[1] - 1)
            place = pack_blocks(index, place)
        return place

    def _is_video(self, sequence):
        """Bool (B, S): whether a token is one of the video."""
        real = sequence.mask & (sequence.token_ids == self.placeholder_id)
        return real & (sequence.block >= self.image_room)

    def _on_grid(self, sequence, index, stride):
        """Bool (B, S): whether a token of the video is on the uniform grid."""
        if stride is None:
            return None
        place = self._places(sequence, index)
        rows, columns = self.grid
        cell = place % (rows * columns)
        on_row = (cell // columns) % stride == 0
        return on_row & ((cell % columns) % stride == 0)

    def compute_output_spec(self, inputs, sequence, logits, video, index=None):
        batch, _, width = inputs.shape
        sequence = (
            keras.KerasTensor((batch, None), dtype=x.dtype) for x in sequence
        )
        return (
            keras.KerasTensor((batch, None, width), dtype=inputs.dtype),
            Sequence(*sequence),
            reach_spec(batch, None),
            keras.KerasTensor((batch, None), dtype="int32"),
        )


@known_before_the_run
def _kept_table(stage, num_tokens, grid):
    """What a stage leaves of 0, 1, ... `num_tokens`."""
    return _make_kept_table(stage, num_tokens, grid)


@functools.lru_cache(maxsize=None)
def _make_kept_table(stage, num_tokens, grid):
    return [stage.num_kept(n, grid) for n in range(num_tokens + 1)]


def _check_stage(stage):
    if not isinstance(stage.layer, int) or stage.layer < 1:
        raise ValueError(
            "Tokens are ranked by the block before, so the first block that "
            "runs on fewer, counted from 0, must be an int of at least 1. "
            f"Received: {stage.layer!r}."
        )
    if not 0 <= stage.ratio < 1:
        raise ValueError(
            "`ratio` is the share of a video's tokens dropped and must lie in "
            f"[0, 1). Received: ratio={stage.ratio!r}."
        )
