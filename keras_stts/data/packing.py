"""Which short samples share a row of a batch."""

import numpy as np

# Packing time grows with the square of the number of samples that are packed
# together; packing in parts of this size costs at most a row for each.
MOST_AT_ONCE = 5000


def plan_rows(
    num_frames, max_frames, max_segments, num_tokens=None, max_tokens=None
):
    """Pack samples into few rows, by the first-fit-decreasing rule.

    From the largest sample to the smallest, each goes into the first row with
    room for it. The result depends on the sizes alone.

    Args:
        num_frames: Ints, frames of each sample; with Qwen3-VL temporal
            patches, the first that `video_shape` of its converter gives.
        max_frames: Int. Most frames in a row, the model's `num_frames`.
        max_segments: Int. Most samples in a row, the model's `num_segments`.
        num_tokens: Optional ints, tokens of each sample's text, with template
            and response.
        max_tokens: Optional int. Most tokens in a row, the preprocessor's
            `sequence_length`.

    Returns:
        List of rows, each a list of indices into `num_frames`.

    Raises:
        ValueError: If a sample is too large for an empty row, or the lengths
            of the arguments differ.

    Example:
    ```python
    videos = [np.zeros((n, 28, 28, 3), "uint8") for n in (5, 2, 3)]
    prompts = ["what?", "where?", "when?"]
    rows = keras_stts.data.plan_rows([5, 2, 3], max_frames=8, max_segments=4)
    # [[0, 2], [1]]
    x = {
        "videos": [[videos[i] for i in row] for row in rows],
        "prompts": [[prompts[i] for i in row] for row in rows],
    }
    ```
    """
    sizes, rooms = [num_frames], [max_frames]
    if num_tokens is not None or max_tokens is not None:
        sizes, rooms = [num_frames, num_tokens], [max_frames, max_tokens]
    sizes, rooms = _checked(sizes, rooms, max_segments)
    share = (sizes / np.maximum(rooms, 1)).max(axis=1)
    order = np.argsort(-share, kind="stable")
    sizes = np.append(sizes, np.ones((len(sizes), 1), int), axis=1)
    rooms = [*rooms, max_segments]
    parts = -(-len(sizes) // MOST_AT_ONCE)
    rows = [
        row
        for i in range(parts)
        for row in _fill(sizes, rooms, order[i::parts])
    ]
    return sorted(sorted(row) for row in rows)


def _fill(sizes, rooms, order):
    """Each sample into the first row with room for it."""
    rows, left = [], np.tile(rooms, (len(order), 1))
    for i in order.tolist():
        # There is always one more row, an empty one.
        fits = (left[: len(rows) + 1] >= sizes[i]).all(axis=1)
        row = int(fits.argmax())
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
        left[row] -= sizes[i]
    return rows


def _checked(sizes, rooms, max_segments):
    """Arrays of sizes (samples, kinds) and rooms (kinds,)."""
    lengths = {len(kind) if np.ndim(kind) == 1 else None for kind in sizes}
    bad = None in lengths or None in rooms or len(lengths) != 1
    if bad or max_segments < 1:
        raise ValueError(
            "Sizes must be lists of a number for each sample, `num_tokens` and "
            "`max_tokens` come together, and `max_segments` is at least 1. "
            f"Received: {sizes!r:.100}, room for {rooms}, max_segments="
            f"{max_segments}."
        )
    sizes, rooms = np.array(sizes).T, np.array(rooms)
    bad = ((sizes > rooms) | (sizes < 0)).any(axis=1)
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            "Each sample must fit into an empty row; none is cut. Received: "
            f"sample {i} of {sizes[i].tolist()} (frames, tokens), room for "
            f"{rooms.tolist()}."
        )
    return sizes, rooms
