"""A few static shapes for samples of any size.

A compiled step runs one shape. Images and videos of any size give grids of
any size, and each new one would be compiled anew. So samples are padded to one
of a few shapes, the buckets, which are chosen once, of the sizes of a data
set. A data set is then compiled as often as it has buckets, once for each kind
of step, whatever is in it.

The sizes are known from headers, with nothing decoded. What a sample's are is
for its layout to say: temporal patches and patches of the largest frame, where
each frame has a row of its own; or all patches, where they stand in one line,
which needs far less padding for as many buckets.
"""

import numpy as np

# Distinct shapes that are compared pair by pair.
MAX_SHAPES = 256


def choose_buckets(shapes, max_buckets, *, multiples=None):
    """Choose a few shapes that hold all samples with little padding.

    Two shapes become one, whose sides are the larger ones, again and again:
    those two that this pads least.

    Args:
        shapes: Ints (n, d), one row a sample: for instance temporal patches
            and patches of the largest frame; or these and text tokens.
        max_buckets: Int. Most buckets, so most compilations.
        multiples: Optional d ints that sides are rounded up to multiples of,
            as kernels like it.

    Returns:
        Int64 (k, d), `k <= max_buckets`, smallest volume first. Each row of
        `shapes` fits into one or more.

    Raises:
        ValueError: If `shapes` is empty or not positive, or `max_buckets` not.

    Example:

    >>> choose_buckets([(1, 60), (1, 64), (8, 30)], 2).tolist()
    [[1, 64], [8, 30]]
    """
    shapes = np.asarray(shapes, "int64")
    if shapes.ndim != 2 or not shapes.size or shapes.min() < 1:
        raise ValueError(
            "`shapes` must be positive ints, a row for each sample. Received: "
            f"an array of shape {shapes.shape}"
            f"{f' from {shapes.min()} on' if shapes.size else ''}."
        )
    if max_buckets < 1:
        raise ValueError(
            f"`max_buckets` must be positive. Received: {max_buckets}."
        )
    step = np.asarray(1 if multiples is None else multiples)
    shapes = -(-shapes // step) * step
    sizes, counts = _coarse(*np.unique(shapes, axis=0, return_counts=True))
    while len(sizes) > max_buckets:
        sizes, counts = _merge_two(sizes, counts)
    return sizes[np.argsort(sizes.prod(axis=1), kind="stable")]


def find_bucket(shape, buckets):
    """The bucket of least volume that holds a sample.

    Args:
        shape: Ints (d,).
        buckets: Ints (k, d), see `choose_buckets`.

    Returns:
        Int. Its place in `buckets`.

    Raises:
        ValueError: If none holds it.

    Example:

    >>> find_bucket((4, 30), [(1, 64), (8, 30)])
    1
    """
    buckets = np.asarray(buckets)
    volumes = buckets.prod(axis=1)
    fits = (buckets >= np.asarray(shape)).all(axis=1)
    if not fits.any():
        raise ValueError(
            "A sample must fit into one of the buckets. Received: shape="
            f"{tuple(int(n) for n in shape)}, buckets={buckets.tolist()}. Add "
            "its shape to those that buckets are chosen of, or lower "
            "`max_pixels`."
        )
    return int(np.where(fits, volumes, volumes.max() + 1).argmin())


def as_pairs(buckets):
    """Buckets (T, P) as lists of two ints.

    Raises:
        ValueError: If they are none.
    """
    sizes = np.asarray(buckets)
    good = sizes.ndim == 2 and sizes.shape[1:] == (2,) and sizes.size
    if not good or sizes.dtype.kind != "i" or sizes.min() < 1:
        raise ValueError(
            "`buckets` must be pairs of positive ints: temporal patches, and "
            f"blocks of a frame. Received: buckets={buckets!r}."
        )
    return sizes.tolist()


def for_frames(buckets, most):
    """Buckets for videos of up to so many temporal patches.

    Args:
        buckets: Pairs of ints (T, P).
        most: Int.
    """
    buckets = sorted(map(list, buckets))
    kept = [bucket for bucket in buckets if bucket[0] <= most]
    if kept and kept[-1][0] == most:
        return kept
    # The next larger one holds them. All pixels of a video are limited, so
    # that more frames than those of the largest are no larger.
    larger = [blocks for frames, blocks in buckets if frames > most]
    return [*kept, [most, max(larger or [kept[-1][1]])]]


def _coarse(sizes, counts):
    """Few enough shapes to compare all pairs: sides rounded up together."""
    ratio = 1.02
    rounded, totals = sizes, counts
    while len(rounded) > MAX_SHAPES:
        rounded = sizes.copy()
        for side, target in zip(sizes.T, rounded.T):
            steps = np.floor(np.log(side) / np.log(ratio))
            # To the largest side of the same step, so to one that there is.
            for each in np.unique(steps):
                target[steps == each] = side[steps == each].max()
        rounded, place = np.unique(rounded, axis=0, return_inverse=True)
        totals = np.bincount(place.ravel(), weights=counts)
        ratio *= ratio
    return rounded, totals


def _merge_two(sizes, counts):
    """One shape fewer: of all pairs, the one that costs least padding."""
    both = np.maximum(sizes[:, None], sizes[None]).prod(axis=2)
    cost = counts * sizes.prod(axis=1)
    added = both * (counts[:, None] + counts) - cost[:, None] - cost
    added = added.astype("float64")
    np.fill_diagonal(added, np.inf)
    first, second = np.unravel_index(added.argmin(), added.shape)
    joined = np.maximum(sizes[first], sizes[second])
    kept = np.delete(np.arange(len(sizes)), [first, second])
    sizes = np.concatenate([sizes[kept], joined[None]])
    counts = np.append(counts[kept], counts[first] + counts[second])
    return sizes, counts
