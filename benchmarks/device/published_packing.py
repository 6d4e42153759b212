"""What the packing published with STTS runs on the same scores.

It fills rows of one whole frame first-fit-descending, in Python, anew at
each step, and hides frames from each other with a dense mask.
"""

import numpy as np


def rows(counts, capacity):
    """Which frames share a row.

    Args:
        counts: Ints, patches that each frame keeps.
        capacity: Int. Patches of a whole frame.

    Returns:
        List of lists of frames, in the order in which they were put there.
    """
    filled, members = [], []
    for frame in sorted(range(len(counts)), key=lambda i: -counts[i]):
        count = counts[frame]
        if not count:
            continue
        for row, used in enumerate(filled):
            if used + count <= capacity:
                filled[row] += count
                members[row].append(frame)
                break
        else:
            filled.append(count)
            members.append([frame])
    return members


def layout(kept):
    """Places of patches in those rows, and who sees whom.

    Args:
        kept: Bool array (T, N), patches that stay.

    Returns:
        Tuple of int32 (R, N), the patch of all T * N at each place, and bool
        (R, 1, N, N). A frame alone in its row has all its patches there
        (the "refill"); places left over see themselves.
    """
    num_patches = kept.shape[1]
    packed = rows(kept.sum(-1).tolist(), num_patches)
    index = np.zeros((len(packed), num_patches), "int32")
    owner = np.full(index.shape, -1)
    for row, frames in enumerate(packed):
        start = 0
        for frame in frames:
            alone = len(frames) == 1
            chosen = np.flatnonzero(kept[frame] | alone)
            places = slice(start, start + len(chosen))
            index[row, places] = frame * num_patches + chosen
            owner[row, places] = frame
            start += len(chosen)
    mask = owner[:, :, None] == owner[:, None]
    mask &= owner[:, None] >= 0
    mask |= np.eye(num_patches, dtype=bool)
    return index, mask[:, None]
