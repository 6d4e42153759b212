from keras import ops

from keras_stts.ops.packing import pack_blocks


def alone_in_row(counts, capacity, segments=None):
    """Which frames the published packer puts alone into a row.

    The rows of that packer hold as many patches as a whole frame. It fills
    them by the first-fit-decreasing rule: the frame with the most kept patches
    first, each into the first row with room for it. A frame that ends up alone
    gets all its patches back ("refill").

    Args:
        counts: Int tensor (B, T), patches that each frame keeps. Of frames
            with equal counts the earlier one is packed first.
        capacity: Int N, patches that fit into a row.
        segments: Optional int tensor (B, T), the video of each frame, see
            `select_blocks`. Frames of different videos share no row.

    Returns:
        Bool tensor (B, T); False for frames that keep nothing.

    Reference:
        The code published with STTS (arXiv 2603.18004). There the videos of a
        batch share rows, so that an answer depends on the batch; here each
        video has rows of its own, as in a batch of one there.
    """
    counts = ops.cast(counts, "int32")
    num_frames = counts.shape[1]
    frame = ops.arange(num_frames, dtype="int32")
    # Unique keys, so every backend sorts them alike.
    order = ops.argsort(frame - counts * num_frames, axis=-1)
    rank = ops.cast(ops.argsort(order, axis=-1), "int32")
    order = ops.cast(order, "int32")
    sorted_counts = pack_blocks(counts, order)
    if segments is None:
        segments = ops.zeros_like(counts)
    sorted_segments = pack_blocks(ops.cast(segments, "int32"), order)

    def place(i, state):
        used, members, row_of, owner = state
        now = frame[None] == i
        count, segment = (
            ops.sum(ops.where(now, x, 0), axis=1, keepdims=True)
            for x in (sorted_counts, sorted_segments)
        )
        fits = used + count <= capacity
        fits = fits & ((used == 0) | (owner == segment))
        row = ops.min(
            ops.where(fits, frame[None], num_frames), axis=1, keepdims=True
        )
        here = ops.cast((frame[None] == row) & (count > 0), "int32")
        row_of = ops.where(now, row, row_of)
        owner = ops.where(here > 0, segment, owner)
        return used + here * count, members + here, row_of, owner

    zeros = ops.zeros_like(counts)
    state = (zeros, zeros, zeros, zeros)
    _, members, row_of, _ = ops.fori_loop(0, num_frames, place, state)
    alone = (pack_blocks(members, row_of) == 1) & (sorted_counts > 0)
    return pack_blocks(alone, rank)
