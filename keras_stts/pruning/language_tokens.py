"""Which tokens of a video the language model drops on its way."""

import functools

from keras import ops

from keras_stts.ops import pack_blocks
from keras_stts.ops.packing import known_before_the_run
from keras_stts.ops.places import places_of
from keras_stts.ops.sequence import Sequence
from keras_stts.ops.text import last_tokens


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


def prune_tokens(stage, method, format, shown, prompt_mask, block, *walk):
    """Take the lowest-ranked tokens of a video out of a prefix.

    Args:
        stage: A `Stage`.
        method: The `keras_stts.pruning.LanguagePruning` that ranks the tokens.
        format: `keras_stts.models.SequenceFormat` of the tokens.
        shown: Tuple (most tokens of the video before this stage, and of those
            the places among all T * P, int (B, K), or `None` for all in
            order).
        prompt_mask: Bool tensor (B, S'), True at the prompt.
        block: The `DecoderBlock` whose attention decides.
        *walk: What went into it, text and prefix, and what came out, prefix
            and keys; see `keras_stts.language.LanguageModel.run`.

    Returns:
        Tuple (prefix, places): the tokens that stay, in order and with their
        positions; and, int32 (B, S), which of the T * P blocks of the video
        each is, -1 if of none. Their number is known before the run; a
        shorter video keeps what it would keep alone, and padding comes last.
    """
    text, before, prefix, key = walk
    last, position = last_tokens(text.x, text.positions, prompt_mask)
    if not method.rope:
        position, key = None, block.plain_keys(before.x)
    logits = attention_logits(block.query_of(last, position), key)
    (most, index), sequence = shown, prefix.sequence
    ranked = format.is_video(sequence)
    table = _kept_table(stage, most, format.grid)
    count = ops.sum(ops.cast(ranked, "int32"), axis=-1)
    chosen = tokens_that_stay(
        method.rank(logits, ranked),
        ranked,
        ops.take(ops.convert_to_tensor(table, "int32"), count),
        _on_grid(format, sequence, index, stage.stride),
    )
    stay = sequence.mask & (chosen | ops.logical_not(ranked))
    removed = most - stage.num_kept(most, format.grid)
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


def _on_grid(format, sequence, index, stride):
    """Bool (B, S): whether a token of the video is on the uniform grid."""
    if stride is None:
        return None
    rows, columns = format.grid
    cell = format.places(sequence, index) % (rows * columns)
    on_row = (cell // columns) % stride == 0
    return on_row & ((cell % columns) % stride == 0)


@known_before_the_run
def _kept_table(stage, num_tokens, grid):
    """What a stage leaves of 0, 1, ... `num_tokens`."""
    return _make_kept_table(stage, num_tokens, grid)


@functools.lru_cache(maxsize=256)
def _make_kept_table(stage, num_tokens, grid):
    return [stage.num_kept(n, grid) for n in range(num_tokens + 1)]
