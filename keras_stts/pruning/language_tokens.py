"""Which tokens of a video the language model drops on its way."""

import functools
from collections import namedtuple

from keras import ops

from keras_stts.ops import pack_blocks
from keras_stts.ops.packing import known_before_the_run
from keras_stts.ops.places import places_of
from keras_stts.ops.sequence import Sequence
from keras_stts.ops.text import last_tokens

Shown = namedtuple(
    "Shown",
    ["most", "index", "grids", "num_blocks"],
    defaults=[None, None, None],
)
Shown.__doc__ = """What the language model is shown of a video.

Attributes:
    most: Int. Tokens that it can have.
    index: Optional int tensor (B, most), their places among all T * P.
        Defaults to all in order.
    grids: Optional int tensor (B, T, 2), see `keras_stts.ops.Frames`.
    num_blocks: Optional int P, blocks of a frame, padding included. Needed
        with `grids`.
"""


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
        ranks: Float32 tensor (B, S). Of equal ones the earlier token stays.
        ranked: Bool tensor (B, S), the tokens there are to choose from.
        num_kept: Int32 tensor (B,), how many of them stay.
        first: Optional bool tensor (B, S), those chosen before all others.

    Returns:
        Bool tensor (B, S), True at the chosen tokens.
    """
    # By place, not by rank: ranks may be any numbers.
    place, size = _places_by(-ranks), ranks.shape[1]
    if first is not None:
        place = ops.where(first, place, place + size)
    place = ops.where(ranked, place, place + 2 * size)
    return ranked & (_places_by(place) < num_kept[:, None])


def _places_by(values):
    """Place of each of some values in ascending order: int32 (B, S)."""
    # A stable sort; the argsort of a permutation is its inverse.
    order = ops.argsort(ops.argsort(values, axis=-1), axis=-1)
    return ops.cast(order, "int32")


def prune_tokens(stage, method, format, shown, prompt_mask, *walk):
    """Take the lowest-ranked tokens of a video out of a prefix.

    Args:
        stage: A `Stage`.
        method: The `keras_stts.pruning.LanguagePruning` that ranks the tokens.
        format: `keras_stts.models.SequenceFormat` of the tokens.
        shown: A `Shown`, of what there is before this stage.
        prompt_mask: Bool tensor (B, S'), True at the prompt.
        *walk: The `DecoderBlock` whose attention decides; text and prefix
            before it; and prefix and keys after it, see
            `keras_stts.language.LanguageModel.run`.

    Returns:
        Tuple (prefix, places): the tokens that stay, in order and with their
        positions; and, int32 (B, S), which of the T * P blocks of the video
        each is, -1 if of none. Their number is known before the run; a
        shorter video keeps what it would keep alone, and padding comes last.
    """
    block, text, before, prefix, key = walk
    last, position = last_tokens(text.x, text.positions, prompt_mask)
    if not method.rope:
        position, key = None, block.plain_keys(before.x)
    logits = attention_logits(block.query_of(last, position), key)
    index, sequence, grid = shown.index, prefix.sequence, grid_of(shown, format)
    ranked = format.is_video(sequence)
    count = ops.sum(ops.cast(ranked, "int32"), axis=-1)
    ranks = method.rank(logits, ranked)
    _check_ranks(method, ranks, ranked)
    chosen = tokens_that_stay(
        ranks,
        ranked,
        _num_kept(stage, shown, grid, count),
        _on_grid(format, sequence, shown, stage.stride),
    )
    stay = sequence.mask & (chosen | ops.logical_not(ranked))
    removed = shown.most - stage.num_kept(shown.most, grid)
    place = places_of(stay, prefix.x.shape[1] - removed)
    kept = [pack_blocks(x, place) for x in sequence._replace(mask=stay)]
    sequence = Sequence(*kept)
    places = format.places(sequence, index)
    places = ops.where(format.is_video(sequence), places, -1)
    prefix = prefix._replace(
        x=pack_blocks(prefix.x, place),
        sequence=sequence,
        reach=format.reach(sequence),
        additions=[pack_blocks(x, place) for x in prefix.additions],
    )
    return prefix, places


def _check_ranks(method, ranks, ranked):
    if tuple(ranks.shape[1:]) != tuple(ranked.shape[1:]):
        raise ValueError(
            f"`{type(method).__name__}.rank` must return a tensor (B, S), a "
            "number for each token. Received: shape "
            f"{tuple(ranks.shape)}, of S={ranked.shape[1]}."
        )


def grid_of(shown, format):
    """Rows and columns of the blocks of a frame; one column of all P where
    frames have grids of their own."""
    if shown.num_blocks is None:
        return format.grid
    return shown.num_blocks, 1


def _on_grid(format, sequence, shown, stride):
    """Bool (B, S): whether a token of the video is on the uniform grid."""
    if stride is None:
        return None
    rows, columns = grid_of(shown, format)
    place = format.places(sequence, shown.index)
    frame, cell = place // (rows * columns), place % (rows * columns)
    if shown.grids is not None:
        columns = ops.cast(shown.grids, "int32")[..., 1]
        columns = ops.maximum(pack_blocks(columns, frame), 1)
    on_row = (cell // columns) % stride == 0
    return on_row & ((cell % columns) % stride == 0)


def _num_kept(stage, shown, grid, count):
    """What a stage leaves of each video: int32 (B,).

    Args:
        stage: A `Stage`.
        shown: A `Shown`.
        grid: Tuple of ints, rows and columns of the blocks of a frame.
        count: Int32 tensor (B,), tokens of each video.
    """
    table = _kept_table(stage, shown.most, grid)
    if shown.grids is None or stage.stride is None:
        return ops.take(ops.convert_to_tensor(table, "int32"), count)
    best = _kept_table(stage._replace(stride=None), shown.most, grid)
    best = ops.take(ops.convert_to_tensor(best, "int32"), count)
    grids = ops.maximum(ops.cast(shown.grids, "int32")[:, 0], 1)
    cells = ops.prod((grids + stage.stride - 1) // stage.stride, axis=-1)
    size = ops.prod(grids, axis=-1)
    on_grid = (cells * count + size - 1) // size
    # One row of all blocks has most cells, so no video keeps more than that.
    return ops.minimum(ops.minimum(best + on_grid, count), table[-1])


@known_before_the_run
def _kept_table(stage, num_tokens, grid):
    """What a stage leaves of 0, 1, ... `num_tokens`."""
    return _make_kept_table(stage, num_tokens, grid)


@functools.lru_cache(maxsize=256)
def _make_kept_table(stage, num_tokens, grid):
    return [stage.num_kept(n, grid) for n in range(num_tokens + 1)]
