"""Checks of what `keras_stts.visualize` is given."""

import math

import numpy as np


def require(good, rule, received, advice):
    """Raise unless something is good."""
    if not good:
        raise ValueError(f"{rule} Received: {received}. {advice}")


def check(frames, kept, scores, grid):
    """Arguments as arrays, and the grid of the blocks."""
    frames, kept = np.asarray(frames), np.asarray(kept)
    good = frames.dtype == "uint8" and frames.shape[3:] == (3,) and frames.size
    rule = "`frames` must be uint8 (T, H, W, 3), none of them 0."
    received = f"shape {frames.shape}, dtype {frames.dtype}"
    require(good, rule, received, "Stack RGB frames of 0 to 255.")
    good = kept.ndim == 2 and kept.dtype == "bool" and len(kept) == len(frames)
    rule = "`kept` must be bool (T, P), T as in the frames."
    received = f"shape {kept.shape}, dtype {kept.dtype}, {len(frames)} frames"
    require(good, rule, received, "Pass True for each block that is kept.")
    grid = _full_grid(kept.shape[1], grid, "grid", "P blocks")
    if scores is not None:
        scores = np.asarray(scores, "float32")
        rule = "`scores` must be (T, P) as `kept`."
        received = f"shape {scores.shape} for kept of shape {kept.shape}"
        require(scores.shape == kept.shape, rule, received, "Reshape them.")
        rule, bad = "`scores` must be finite.", np.sum(~np.isfinite(scores))
        received = f"{bad} NaN or infinite ones of {scores.size}"
        require(not bad, rule, received, "Replace them.")
    return frames, kept, scores, grid


def are_groups(row):
    """Whether a row holds groups of patches, not which blocks are kept."""
    return row.dtype.kind in "iu"


def check_groups(frames, groups, grid):
    """Arguments as arrays, and the grid of the patches."""
    frames, groups = np.asarray(frames), np.asarray(groups)
    check(frames, np.ones((len(frames), 1), bool), None, None)
    rule = "`groups` must be int (T, N) from 0 to N - 1, T as in the frames."
    good = groups.ndim == 2 and are_groups(groups) and groups.size
    good = good and len(groups) == len(frames)
    good = good and 0 <= groups.min() and groups.max() < groups.shape[1]
    received = f"shape {groups.shape}, dtype {groups.dtype}"
    received += f", {len(frames)} frames"
    require(good, rule, received, "Pass those of `model.kept_blocks`.")
    grid = _full_grid(groups.shape[1], grid, "patch_grid", "N patches")
    return frames, groups, grid


def _full_grid(number, grid, name, what):
    """Rows and columns of so many parts of a frame; a square by default."""
    side = math.isqrt(number)
    grid = (side, side) if grid is None else tuple(grid)
    letter = what[0]
    rule = f"The {what} must fill a grid of rows * columns = {letter}."
    good = len(grid) == 2 and math.prod(grid) == number
    received = f"{letter}={number}, {name}={grid}"
    require(good, rule, received, f"Pass {name}=(rows, columns).")
    return grid
