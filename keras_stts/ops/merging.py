"""Merging of similar tokens, with static shapes."""

from collections import namedtuple

from keras import ops

from keras_stts.ops.packing import pack_blocks

Merged = namedtuple("Merged", ["size", "place"])
Merged.__doc__ = """Which patches were merged into which tokens.

Each row is a frame of N patches that were merged into n tokens.

Attributes:
    size: Float32 tensor (rows, n), number of patches in each token.
    place: Int32 tensor (rows, N), index of the token that holds each patch.

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


def unmerged(x):
    """The `Merged` of patches (rows, N, D) before any merge."""
    size = ops.ones_like(x[..., 0], dtype="float32")
    place = ops.arange(x.shape[1], dtype="int32")[None]
    return Merged(size, ops.broadcast_to(place, ops.shape(size)))


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


def match_tokens(metric):
    """Find the odd token that each even token is most similar to.

    Args:
        metric: Tensor (rows, n, d), compared by cosine similarity.

    Returns:
        Tuple of int32 tensors (rows, ceil(n / 2)): the partner of each even
        token, and the order of the even tokens, the most similar one first.
    """
    x = ops.stop_gradient(ops.cast(metric, "float32"))
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    x = x * ops.rsqrt(ops.maximum(squares, 1e-12))
    similarity = ops.einsum("rad,rbd->rab", x[:, ::2], x[:, 1::2])
    partner = ops.cast(ops.argmax(similarity, axis=-1), "int32")
    order = ops.argsort(-ops.max(similarity, axis=-1), axis=-1)
    return partner, ops.cast(order, "int32")


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
    partner, order = match_tokens(metric)
    first, alone = order[:, :num_merged], order[:, num_merged:]
    sizes = merged.size[..., None]
    sums = ops.concatenate([ops.cast(x, "float32") * sizes, sizes], axis=-1)
    even, odd = sums[:, ::2], sums[:, 1::2]
    goes = pack_blocks(partner, first)
    # PyTorch's one_hot waits for the GPU to check what it is given.
    place = ops.arange(odd.shape[1], dtype=goes.dtype)
    goes = ops.cast(goes[..., None] == place, "float32")
    odd = odd + ops.einsum("rso,rsd->rod", goes, pack_blocks(even, first))
    sums = ops.concatenate([pack_blocks(even, alone), odd], axis=1)
    size = sums[..., -1]
    x = ops.cast(sums[..., :-1] / size[..., None], x.dtype)
    place = pack_blocks(_new_places(partner, order, num_merged), merged.place)
    return x, Merged(size, place)


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
