"""Positions in time, height and width of each token (interleaved M-RoPE)."""

import numpy as np


def frame_grids(grids):
    """A grid for each temporal patch, as each stands alone in the text.

    Args:
        grids: Ints (n, 3): t, h and w of videos or images.

    Returns:
        Int64 (sum of t, 2): h and w, in patches.

    Example:

    >>> frame_grids([(2, 4, 6), (1, 2, 2)]).tolist()
    [[4, 6], [4, 6], [2, 2]]
    """
    grids = np.asarray(grids, "int64").reshape(-1, 3)
    return np.repeat(grids[:, 1:], grids[:, 0], axis=0)


def rope_positions(
    token_ids,
    *,
    image_token_id,
    video_token_id,
    image_grids=(),
    video_grids=(),
    padding_mask=None,
    merge_size=2,
):
    """Positions of tokens, and how much shorter they are than the sequence.

    A text token is one further than the largest position before it, in all
    three. The tokens of an image, or of one temporal patch of a video, share
    the next position in time; in height and width they count from it.

    Args:
        token_ids: Ints (B, S).
        image_token_id, video_token_id: Ints. The placeholders.
        image_grids, video_grids: Ints (n, 3): t, h and w, in patches, of the
            images and videos of all sequences, in order.
        padding_mask: Optional bool (B, S), False where there is padding,
            whose positions are 0.
        merge_size: Int. Side of what a token stands for, in patches.

    Returns:
        Tuple (positions, deltas): int32 (3, B, S) of time, height and width,
        and int32 (B, 1): a token that is generated at place `s`, padding not
        counted, has the position `s + delta`.

    Raises:
        ValueError: If placeholders and grids do not go together.

    Example:

    >>> ids = [[7, 1, 1, 8]]
    >>> grids = {"image_grids": [(1, 2, 4)], "image_token_id": 1}
    >>> positions, deltas = rope_positions(ids, video_token_id=2, **grids)
    >>> positions[:, 0].tolist(), deltas.tolist()
    ([[0, 1, 1, 3], [0, 1, 1, 3], [0, 1, 2, 3]], [[0]])
    """
    token_ids = np.asarray(token_ids)
    if padding_mask is None:
        padding_mask = np.ones(token_ids.shape, bool)
    padding_mask = np.asarray(padding_mask, bool)
    if token_ids.ndim != 2 or padding_mask.shape != token_ids.shape:
        raise ValueError(
            "`token_ids` and `padding_mask` must be (B, S). Received: shapes "
            f"{token_ids.shape} and {padding_mask.shape}."
        )
    queues = {
        image_token_id: _sizes_of_blocks(image_grids, merge_size),
        video_token_id: _sizes_of_blocks(video_grids, merge_size),
    }
    positions = np.zeros((3, *token_ids.shape), "int32")
    deltas = np.zeros((len(token_ids), 1), "int32")
    for row, (ids, mask) in enumerate(zip(token_ids, padding_mask)):
        placed = _of_row(ids[mask], queues)
        positions[:, row, mask] = placed
        if placed.size:
            deltas[row] = placed.max() + 1 - placed.shape[1]
    left = {token: len(queue) for token, queue in queues.items() if queue}
    if left:
        raise ValueError(
            "Each image, and each pair of frames of a video, must have its "
            "placeholders among the tokens. Received: grids left over of "
            f"{left} (placeholder: grids). Was a sequence cut?"
        )
    return positions, deltas


def _sizes_of_blocks(grids, merge_size):
    """Rows and columns of tokens of each frame, the next one last."""
    return [tuple(size) for size in frame_grids(grids)[::-1] // merge_size]


def _of_row(ids, queues):
    """Positions (3, s) of a sequence; its grids are taken off the queues."""
    parts, place, position = [np.zeros((3, 0), "int64")], 0, 0
    places = np.flatnonzero(np.isin(ids, list(queues))).tolist()
    for seen in places:
        if seen < place:  # Of a frame that was placed.
            continue
        text = seen - place
        parts.append(np.tile(np.arange(text) + position, (3, 1)))
        rows, columns = _next_size(ids, seen, queues)
        grid = np.indices((1, rows, columns)).reshape(3, -1)
        parts.append(grid + position + text)
        position += text + max(rows, columns)
        place = seen + rows * columns
    parts.append(np.tile(np.arange(len(ids) - place) + position, (3, 1)))
    return np.concatenate(parts, axis=1)


def _next_size(ids, place, queues):
    """Rows and columns of the frame whose placeholders begin at a place."""
    token = int(ids[place])
    rows, columns = queues[token].pop() if queues[token] else (0, 0)
    count = rows * columns
    if (
        not count
        or (ids[place : place + count] != token).any()
        or (place + count > len(ids))
    ):
        raise ValueError(
            "Each image, and each pair of frames of a video, must have as "
            f"many placeholders as merged patches. Received: {count} merged "
            f"patches for the placeholders {token} from token {place} on. "
            "Were grids left out, or a sequence cut?"
        )
    return rows, columns
