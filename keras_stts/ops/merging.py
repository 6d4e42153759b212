"""Merging of similar tokens, with static shapes."""

from collections import namedtuple

import numpy as np
from keras import ops

from keras_stts.ops.packing import known_before_the_run
from keras_stts.ops.packing import pack_blocks
from keras_stts.ops.places import places_of

Merged = namedtuple(
    "Merged", ["size", "place", "position", "most"], defaults=[None, None]
)
Merged.__doc__ = """Which patches were merged into which tokens.

Each row is a frame of N patches that were merged into n tokens.

Attributes:
    size: Float32 tensor (rows, n), number of patches in each token; 0 of
        padding.
    place: Int32 tensor (rows, N), index of the token that holds each patch.
    position: Optional float32 tensor (rows, n, 2), mean row and column of the
        patches of each token.
    most: Optional int32 tensor (rows, 1), most tokens of a frame that are
        merged next, if frames have patches of their own; padding is then
        merged instead, and comes last.

Example:
```python
x = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]], "float32")
merged = keras_stts.ops.unmerged(x)
x, merged = keras_stts.ops.merge_tokens(x, merged, metric=x, num_merged=1)
merged.size  # [[1, 2, 1]]
merged.place  # [[1, 1, 0, 2]]: patches 0 and 1 are one token.
```

Reference:
    ToMe (arXiv 2210.09461).
"""


def unmerged(x, number=None, position=None):
    """The `Merged` of patches before any merge.

    Args:
        x: Tensor (rows, N, D).
        number: Optional int32 tensor (rows, 1), patches of each frame, which
            come first. Defaults to all.
        position: See `Merged`.
    """
    size = ops.ones_like(x[..., 0], dtype="float32")
    place = ops.arange(x.shape[1], dtype="int32")[None]
    place = ops.broadcast_to(place, ops.shape(size))
    if number is not None:
        size = ops.cast(place < number, "float32")
    return Merged(size, place, position)


def merge_schedule(num_patches, num_layers, prune_ratio):
    """Number of tokens that each layer merges, spread as evenly as possible.

    Args:
        num_patches: Int N.
        num_layers: Int.
        prune_ratio: Float in [0, 1). Share of the tokens that are gone after
            the last layer.

    Returns:
        List of `num_layers` ints, whose sum is `int(N * prune_ratio)`.

    Raises:
        ValueError: If a layer would have to merge more than half its tokens.
    """
    total = int(num_patches * prune_ratio + 1e-6)
    merged = [
        total * (i + 1) // num_layers - total * i // num_layers
        for i in range(num_layers)
    ]
    left = num_patches
    for count in merged:
        if count > left // 2:
            raise ValueError(
                "A layer can merge at most half of its tokens. Received: "
                f"prune_ratio={prune_ratio}, with which one of {num_layers} "
                f"layers would merge {count} of {left}. Lower `prune_ratio`."
            )
        left -= count
    return merged


def merge_quotas(number, most, num_layers, prune_ratio):
    """`merge_schedule` of frames that have patches of their own.

    Args:
        number: Int32 tensor (rows, 1), patches of each frame.
        most: Int N, the most patches of a frame.
        num_layers: Int.
        prune_ratio: Float, see `merge_schedule`.

    Returns:
        List of int32 tensors (rows, 1).
    """
    table = ops.convert_to_tensor(_totals(most, prune_ratio), "int32")
    total = ops.take(table, number)
    return [
        total * (i + 1) // num_layers - total * i // num_layers
        for i in range(num_layers)
    ]


@known_before_the_run
def _totals(most, prune_ratio):
    """Tokens that are gone in the end of 0, 1, ... `most` patches."""
    return [int(n * prune_ratio + 1e-6) for n in range(most + 1)]


def match_tokens(metric, size=None, most=None):
    """Find the odd token that each even token is most similar to.

    Args:
        metric: Tensor (rows, n, d), compared by cosine similarity.
        size, most: See `Merged`; together.

    Returns:
        Tuple of int32 tensors (rows, ceil(n / 2)): the partner of each even
        token, and the order of the even tokens, the most similar one first.
        With `most`, so many of them come first, then padding, then others.
    """
    x = ops.stop_gradient(ops.cast(metric, "float32"))
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    x = x * ops.rsqrt(ops.maximum(squares, 1e-12))
    similarity = ops.einsum("rad,rbd->rab", x[:, ::2], x[:, 1::2])
    if most is not None:
        is_padding = size == 0
        similarity = ops.where(is_padding[:, None, 1::2], -2.0, similarity)
        similarity = ops.where(is_padding[:, ::2, None], -3.0, similarity)
    partner = ops.cast(ops.argmax(similarity, axis=-1), "int32")
    order = ops.argsort(-ops.max(similarity, axis=-1), axis=-1)
    order = ops.cast(order, "int32")
    if most is None:
        return partner, order
    rank = ops.cast(ops.argsort(order, axis=-1), "int32")
    odd = ops.sum(ops.cast(~is_padding[:, 1::2], "int32"), -1, keepdims=True)
    late = ops.where(rank < ops.where(odd > 0, most, 0), 0, 2)
    late = ops.where(is_padding[:, ::2], 1, late)
    key = late * order.shape[1] + rank
    return partner, ops.cast(ops.argsort(key, axis=-1), "int32")


def merge_tokens(x, merged, metric, num_merged):
    """Merge the most similar even tokens into their odd partners.

    Args:
        x: Tensor (rows, n, D).
        merged: A `Merged` of these tokens.
        metric: Tensor (rows, n, d), what is compared: ToMe takes the keys,
            averaged over the heads.
        num_merged: Int, at most n // 2.

    Returns:
        Tuple (tokens (rows, n - num_merged, D), `Merged`): the even tokens
        that were not merged, the most similar one first, then the odd tokens.
        A token is the mean of its patches. No gradient flows through the
        matching.

    Reference:
        ToMe (arXiv 2210.09461), bipartite soft matching.
    """
    if not num_merged:
        return x, merged
    partner, order = match_tokens(metric, merged.size, merged.most)
    first, alone = order[:, :num_merged], order[:, num_merged:]
    sizes = merged.size[..., None]
    beside = [] if merged.position is None else [merged.position]
    sums = [ops.cast(each, "float32") * sizes for each in (x, *beside)]
    sums = ops.concatenate([*sums, sizes], axis=-1)
    even, odd = sums[:, ::2], sums[:, 1::2]
    goes = pack_blocks(partner, first)
    # PyTorch's one_hot waits for the GPU to check what it is given.
    place = ops.arange(odd.shape[1], dtype=goes.dtype)
    goes = ops.cast(goes[..., None] == place, "float32")
    odd = odd + ops.einsum("rso,rsd->rod", goes, pack_blocks(even, first))
    sums = ops.concatenate([pack_blocks(even, alone), odd], axis=1)
    place = _new_places(partner, order, num_merged)
    if merged.most is not None:
        # So that the next layer pairs tokens as without padding.
        last = places_of(sums[..., -1] > 0, sums.shape[1])
        sums = pack_blocks(sums, last)
        back = ops.cast(ops.argsort(last, axis=-1), "int32")
        place = pack_blocks(back, ops.minimum(place, sums.shape[1] - 1))
    place = pack_blocks(place, merged.place)
    size = sums[..., -1]
    means = sums[..., :-1] / ops.maximum(size, 1.0)[..., None]
    position, width = None, x.shape[-1]
    if beside:
        position = means[..., width:]
    x = ops.cast(means[..., :width], x.dtype)
    return x, Merged(size, place, position)


def _new_places(partner, order, num_merged):
    """Where tokens (even, odd, even, ...) are after the merge."""
    num_even = order.shape[1]
    num_alone = num_even - num_merged
    rank = ops.cast(ops.argsort(order, axis=-1), "int32")
    even = ops.where(rank < num_merged, num_alone + partner, rank - num_merged)
    # If n is odd this is one place too many; it is never read.
    odd = ops.arange(num_even, dtype="int32") + num_alone
    odd = ops.broadcast_to(odd[None], ops.shape(even))
    return ops.reshape(ops.stack([even, odd], axis=-1), (-1, 2 * num_even))


def first_of_groups(place):
    """The first patch of the group that each patch was merged into.

    Args:
        place: Int array (rows, N), see `Merged`.

    Returns:
        Int32 array (rows, N): patches of one group have the same number, that
        of their first one; a patch that is alone has its own.

    Example:

    >>> first_of_groups(np.array([[1, 1, 0, 2]])).tolist()
    [[0, 0, 2, 3]]
    """
    place = np.asarray(place)
    first = np.empty(place.shape, "int32")
    for row, tokens in enumerate(place):
        _, firsts, token = np.unique(
            tokens, return_index=True, return_inverse=True
        )
        first[row] = firsts[token]
    return first
