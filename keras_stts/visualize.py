"""Pictures of which blocks of a video were kept, and of their scores.

Everywhere: frames are uint8 (T, H, W, 3) of any size and aspect, kept is bool
(T, P) and scores are finite numbers (T, P), P blocks a frame in row order.
`grid` is `(rows, columns)` of the blocks, by default a square. Anything else
raises a ValueError. The colours of scores span 0 to 1 or, if some lie outside
of it, the smallest to the largest.
"""

import math
import os

import numpy as np

from keras_stts.drawing import GREY
from keras_stts.drawing import INK
from keras_stts.drawing import import_matplotlib
from keras_stts.drawing import new_figure

__all__ = ["overlay", "plot_comparison", "plot_kept", "write_annotated"]

COLORMAP = "viridis"
KEPT = "Kept blocks"  # What the row of `plot_kept` is called.
DIMMED = "dimmed: pruned, the language model does not see it"


def overlay(frames, kept, grid=None, *, scale=1):
    """Dims the pruned blocks of frames.

    Args:
        frames, kept, grid: see the top of this module.
        scale: int. Each pixel becomes `scale` by `scale` pixels.

    Returns:
        uint8 (T, H * scale, W * scale, 3).

    Example:

    >>> frames = np.full((1, 4, 4, 3), 200, "uint8")
    >>> kept = np.array([[True, True, False, False]])
    >>> overlay(frames, kept)[0, :, 0, 0].tolist()
    [200, 200, 71, 71]
    """
    frames, kept, _, grid = _check(frames, kept, None, grid)
    rule = "`scale` must be a whole number from 1."
    _require(scale in range(1, 1000), rule, f"scale={scale}", "Pass 1.")
    frames = frames.repeat(int(scale), axis=1).repeat(int(scale), axis=2)
    # In 256ths: mostly luma, with a hint of the colour, at a third of light.
    luma = frames @ np.array([77, 150, 29], "uint16") >> 8
    dim = 23 * frames.astype("uint16") + 69 * luma[..., None] >> 8
    mask = _stretch(kept[..., None], grid, frames)
    return np.where(mask, frames, dim.astype("uint8"))


def plot_kept(
    frames,
    kept,
    scores=None,
    *,
    timestamps=None,
    title=None,
    max_frames=8,
    grid=None,
):
    """Draws frames with pruned blocks dimmed, and their scores below.

    Args:
        frames, kept, scores, grid: see the top of this module.
        timestamps, title: (T,) seconds, written under the frames, and str.
        max_frames: int. Of more frames, this many are shown, evenly spaced
            from frame 0.

    Returns:
        A matplotlib `Figure`, 150 dots an inch when saved. A notebook displays
        it as the last line of a cell. It is not registered with pyplot.

    Example:

    >>> frames = np.zeros((2, 48, 48, 3), "uint8")
    >>> kept = np.arange(32).reshape(2, 16) < 20
    >>> figure = plot_kept(frames, kept, title="A dark day")
    """
    return plot_comparison(
        frames,
        {KEPT: kept},
        scores,
        timestamps=timestamps,
        title=title,
        max_frames=max_frames,
        grid=grid,
    )


def plot_comparison(
    frames,
    kept_by_name,
    scores=None,
    *,
    timestamps=None,
    title=None,
    max_frames=8,
    grid=None,
):
    """Draws the same frames as `plot_kept`, with a row for each variant.

    Args:
        kept_by_name: dict of label to bool (T, P), the rows from the top.
        frames, scores, timestamps, title, max_frames, grid: see `plot_kept`.

    Example:

    >>> frames = np.zeros((2, 48, 48, 3), "uint8")
    >>> half = np.arange(32).reshape(2, 16) < 16
    >>> figure = plot_comparison(frames, {"0%": half | True, "50%": half})
    """
    shapes = [np.shape(kept) for kept in kept_by_name.values()]
    rule = "Variants must have one shape (T, P), and max_frames be 1 or more."
    received = f"shapes={shapes}, max_frames={max_frames}"
    good = len(set(shapes)) == 1 and max_frames > 0
    _require(good, rule, received, "Pass at least one variant and frame.")
    for kept in kept_by_name.values():
        frames, _, scores, blocks = _check(frames, kept, scores, grid)
    total, form = len(frames), "frame {}" if timestamps is None else "{:.1f} s"
    times = range(total) if timestamps is None else timestamps
    rule = "`timestamps` must be (T,), one a frame."
    received = f"shape {np.shape(times)} for {total} frames"
    _require(np.shape(times) == (total,), rule, received, "Pass all or None.")
    shown = np.linspace(0, total - 0.5, min(total, max_frames)).astype(int)
    frames = frames[shown]
    figure, axes = _page(frames, kept_by_name, scores, title)
    for row, (name, kept) in zip(axes, kept_by_name.items()):
        what = "of the video" if name == KEPT else "kept"
        _label(row[0], name, f"{np.mean(kept):.0%} {what}")
        _draw_kept(row, frames, np.asarray(kept)[shown], blocks)
    for axis, frame in zip(row, shown):
        axis.set_xlabel(form.format(times[frame]), size=min(12, 125 / len(row)))
    if scores is not None:
        heat = _stretch(scores[shown, :, None], blocks, frames)
        _draw_scores(figure, axes[-1], heat, _limits(scores))
    if not all(np.all(kept) for kept in kept_by_name.values()):
        _explain(figure)
    return figure


def write_annotated(
    path, frames, kept, scores=None, *, fps=2.0, scale=None, grid=None
):
    """Writes a video with pruned blocks dimmed, beside its scores if given.

    Args:
        path: str or path-like, ending in `.mp4` or `.gif`.
        frames, kept, scores, grid: see the top of this module.
        fps: float. Frames a second.
        scale: int. Enlarges pixels; default: to 360 a side or more.

    Example:

    >>> write_annotated("kept.mp4", frames, kept)  # doctest: +SKIP
    """
    import imageio.v3 as iio

    ending = os.path.splitext(path)[1].lower()
    rule = "`path` must end in .mp4 or .gif, and `fps` be positive."
    good = ending in (".mp4", ".gif") and fps > 0
    _require(good, rule, f"path={path}, fps={fps}", "Change it.")
    frames, kept, scores, grid = _check(frames, kept, scores, grid)
    scale = scale or math.ceil(360 / max(frames.shape[1:3]))
    video = overlay(frames, kept, grid, scale=scale)
    if scores is not None:
        low, high = _limits(scores)
        colors = import_matplotlib().colormaps[COLORMAP]
        colors = colors((scores - low) / (high - low), bytes=True)
        heat = _stretch(colors[..., :3], grid, video)
        gutter = np.full_like(video[:, :, :8], 255)
        video = np.concatenate([video, gutter, heat], axis=2)
    if ending == ".gif":
        return iio.imwrite(path, video, duration=1000 / fps, loop=0)
    # H.264 wants even sides.
    odd = [(0, side % 2) for side in video.shape[1:3]]
    video = np.pad(video, [(0, 0), *odd, (0, 0)], "edge")
    iio.imwrite(path, video, plugin="pyav", codec="libx264", fps=fps)


def _page(frames, names, scores, title):
    rows, columns = len(names) + (scores is not None), len(frames)
    ratio = frames.shape[1] / frames.shape[2]
    # Inches: at most a 16:9 slide of 13.33 by 7.5.
    side = min(11.3 / columns, 5.9 / rows / ratio)
    size = columns * side + 2, rows * side * ratio + 1.0 + 0.6 * bool(title)
    figure = new_figure(size)
    bare = dict(xticks=[], yticks=[], frame_on=False)
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw=bare)
    figure.suptitle(title or "", x=0.02, ha="left", size=19, weight="bold")
    return figure, axes


def _draw_kept(row, frames, kept, grid):
    height, width = np.divide(frames.shape[1:3], grid)
    style = dict(color="white", linewidth=1, capstyle="projecting")
    pictures, masks = overlay(frames, kept, grid), kept.reshape(-1, *grid)
    for axis, picture, mask in zip(row, pictures, masks):
        _show(axis, picture)
        # Lines where a kept block meets a pruned one.
        y, x = np.argwhere(mask[:, 1:] != mask[:, :-1]).T * 1.0
        x, y = (x + 1) * width - 0.5, y * height - 0.5
        axis.vlines(x, y, y + height, **style)
        y, x = np.argwhere(mask[1:] != mask[:-1]).T * 1.0
        x, y = x * width - 0.5, (y + 1) * height - 0.5
        axis.hlines(y, x, x + width, **style)


def _draw_scores(figure, row, heat, limits):
    _label(row[0], "Scores", "low ones leave first")
    for axis, picture in zip(row, heat):
        image = _show(axis, picture, limits)
    inset = axis.inset_axes([1.06, 0, 0.06, 1])
    ticks = np.linspace(*limits, 3)
    bar = figure.colorbar(image, inset, ticks=ticks)
    bar.set_ticklabels([f"{tick:.3g}" for tick in ticks])
    bar.outline.set_visible(False)
    inset.tick_params(length=0, labelcolor=GREY)


def _limits(scores):
    """Where the colours of scores begin and end: 0 and 1 if they fit."""
    low, high = float(scores.min()), float(scores.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def _explain(figure):
    patch = import_matplotlib().patches.Patch
    sample = patch(facecolor="#3a3a3a", edgecolor=GREY, label=DIMMED)
    place = dict(loc="outside lower left", frameon=False, fontsize=12)
    figure.legend(handles=[sample], labelcolor=GREY, **place)


def _show(axis, picture, limits=(0, 1)):
    # Few pixels stay crisp, many are averaged.
    smooth = "nearest" if picture.shape[1] < 128 else "antialiased"
    style = dict(interpolation=smooth, vmin=limits[0], vmax=limits[1])
    return axis.imshow(picture, COLORMAP, **style)


def _label(axis, name, note):
    place = dict(xy=(0, 0.5), xycoords="axes fraction", ha="right")
    bold = dict(va="bottom", weight="bold", size=14, color=INK)
    light = dict(va="top" if name else "center", size=12, color=GREY)
    for text, up, style in ((name, 2, bold), (note, -2 * bool(name), light)):
        style.update(xytext=(-10, up), textcoords="offset points")
        axis.annotate(text, **place, **style)


def _stretch(blocks, grid, frames):
    """Repeats (T, P, C) blocks to the frames' size: (T, H, W, C)."""
    rows = np.arange(frames.shape[1]) * grid[0] // frames.shape[1]
    columns = np.arange(frames.shape[2]) * grid[1] // frames.shape[2]
    return blocks.reshape(-1, *grid, blocks.shape[2])[:, rows[:, None], columns]


def _require(good, rule, received, advice):
    if not good:
        raise ValueError(f"{rule} Received: {received}. {advice}")


def _check(frames, kept, scores, grid):
    frames, kept = np.asarray(frames), np.asarray(kept)
    good = frames.dtype == "uint8" and frames.shape[3:] == (3,) and frames.size
    rule = "`frames` must be uint8 (T, H, W, 3), none of them 0."
    received = f"shape {frames.shape}, dtype {frames.dtype}"
    _require(good, rule, received, "Stack RGB frames of 0 to 255.")
    good = kept.ndim == 2 and kept.dtype == "bool" and len(kept) == len(frames)
    rule = "`kept` must be bool (T, P), T as in the frames."
    received = f"shape {kept.shape}, dtype {kept.dtype}, {len(frames)} frames"
    _require(good, rule, received, "Pass True for each block that is kept.")
    side = math.isqrt(kept.shape[1])
    grid = (side, side) if grid is None else tuple(grid)
    good = len(grid) == 2 and math.prod(grid) == kept.shape[1]
    rule = "The P blocks must fill a grid of rows * columns = P."
    received = f"P={kept.shape[1]}, grid={grid}"
    _require(good, rule, received, "Pass grid=(rows, columns).")
    if scores is not None:
        scores = np.asarray(scores, "float32")
        rule = "`scores` must be (T, P) as `kept`."
        received = f"shape {scores.shape} for kept of shape {kept.shape}"
        _require(scores.shape == kept.shape, rule, received, "Reshape them.")
        rule, bad = "`scores` must be finite.", np.sum(~np.isfinite(scores))
        received = f"{bad} NaN or infinite ones of {scores.size}"
        _require(not bad, rule, received, "Replace them.")
    return frames, kept, scores, grid
