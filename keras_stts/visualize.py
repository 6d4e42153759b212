"""Pictures of which blocks of a video were kept, and of their scores.

Everywhere: frames are uint8 (T, H, W, 3) of any size and aspect, kept is bool
(T, P) and scores are finite numbers (T, P), P blocks a frame in row order.
`grid` is `(rows, columns)` of the blocks, by default a square. Groups are int
(T, N), which of the N patches of a frame were merged with which, and
`patch_grid` their rows and columns; `VideoVLM.kept_blocks` returns all of this.
Anything else raises a ValueError. The colours of scores span 0 to 1 or, if some
lie outside of it, the smallest to the largest.

Pruned blocks are dimmed and striped: stripes show in dark scenes, in print
without colour, and to readers with any kind of colour blindness.
"""

import functools
import os

import numpy as np

from keras_stts.pictures import annotated_video
from keras_stts.pictures import painting
from keras_stts.pictures.checks import are_groups
from keras_stts.pictures.checks import check
from keras_stts.pictures.checks import check_groups
from keras_stts.pictures.checks import require
from keras_stts.pictures.drawing import INK
from keras_stts.pictures.drawing import import_matplotlib
from keras_stts.pictures.pages import COLORMAP
from keras_stts.pictures.pages import KEPT
from keras_stts.pictures.pages import MERGED
from keras_stts.pictures.pages import WHOLE
from keras_stts.pictures.pages import draw_groups
from keras_stts.pictures.pages import draw_kept
from keras_stts.pictures.pages import draw_scores
from keras_stts.pictures.pages import explain
from keras_stts.pictures.pages import limits
from keras_stts.pictures.pages import page

__all__ = [
    "overlay",
    "overlay_groups",
    "plot_comparison",
    "plot_kept",
    "write_annotated",
    "write_side_by_side",
]

SEEN = "What the language model sees of the video"
MERGES = "Which patches the vision encoder merges"


def overlay(frames, kept, grid=None, *, scale=1, stripes=False):
    """Dims the pruned blocks of frames.

    Args:
        frames, kept, grid: see the top of this module.
        scale: int. Each pixel becomes `scale` by `scale` pixels.
        stripes: bool. Whether pruned blocks are striped, too, so that dark
            scenes show which ones they are.

    Returns:
        uint8 (T, H * scale, W * scale, 3).

    Example:

    >>> frames = np.full((1, 4, 4, 3), 200, "uint8")
    >>> kept = np.array([[True, True, False, False]])
    >>> overlay(frames, kept)[0, :, 0, 0].tolist()
    [200, 200, 71, 71]
    """
    frames, kept, _, grid = check(frames, kept, None, grid)
    frames = _enlarged(frames, scale)
    return painting.pruned(frames, kept, grid, stripes=stripes)


def overlay_groups(frames, groups, grid=None, *, scale=1):
    """Gives patches that were merged the mean colour of their group.

    Lines separate groups that touch. A patch that is alone keeps its pixels.

    Args:
        frames, groups: see the top of this module.
        grid: optional (rows, columns) of the N patches; default: a square.
        scale: int. Each pixel becomes `scale` by `scale` pixels.

    Returns:
        uint8 (T, H * scale, W * scale, 3).

    Example:

    >>> frames = np.arange(4, dtype="uint8").reshape(1, 2, 2, 1) * 20
    >>> groups = np.array([[0, 1, 2, 0]])  # The first and the last patch.
    >>> overlay_groups(frames.repeat(3, -1), groups)[0, 0, 0].tolist()
    [30, 30, 30]
    """
    frames, groups, grid = check_groups(frames, groups, grid)
    return painting.grouped(_enlarged(frames, scale), groups, grid)


def _enlarged(frames, scale):
    rule = "`scale` must be a whole number from 1."
    require(scale in range(1, 1000), rule, f"scale={scale}", "Pass 1.")
    return painting.enlarged(frames, scale)


def plot_kept(
    frames,
    kept,
    scores=None,
    *,
    timestamps=None,
    title=None,
    max_frames=8,
    grid=None,
    groups=None,
    patch_grid=None,
):
    """Draws frames with pruned blocks dimmed, and their scores below.

    With groups, it draws the frames and what was merged. A video that is dark
    throughout is drawn brighter, and the legend says how much.

    Args:
        frames, kept, scores, grid, groups, patch_grid: see the top of this
            module.
        timestamps, title: (T,) seconds, written under the frames, and str;
            default: a title that says what is drawn; `""`: none.
        max_frames: int. Of more frames, this many are shown, evenly spaced
            from frame 0.

    Returns:
        A matplotlib `Figure`, 150 to 300 dots an inch when saved, so that
        frames keep their pixels if they can. A notebook displays it as the
        last line of a cell. It is not registered with pyplot.

    Example:

    >>> frames = np.zeros((2, 48, 48, 3), "uint8")
    >>> kept = np.arange(32).reshape(2, 16) < 20
    >>> figure = plot_kept(frames, kept, title="A dark day")
    """
    rows = {KEPT: kept}
    if groups is not None:
        _, groups, _ = check_groups(frames, groups, patch_grid)
        rows = {WHOLE if np.all(kept) else KEPT: kept, MERGED: groups}
        title = MERGES if title is None and np.all(kept) else title
    return plot_comparison(
        frames,
        rows,
        scores,
        timestamps=timestamps,
        title=title,
        max_frames=max_frames,
        grid=grid,
        patch_grid=patch_grid,
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
    patch_grid=None,
):
    """Draws the same frames as `plot_kept`, with a row for each variant.

    Args:
        kept_by_name: dict of label to bool (T, P), or to int (T, N), groups
            of merged patches; the rows from the top.
        frames, scores, timestamps, title, max_frames, grid, patch_grid: see
            `plot_kept`.

    Example:

    >>> frames = np.zeros((2, 48, 48, 3), "uint8")
    >>> half = np.arange(32).reshape(2, 16) < 16
    >>> figure = plot_comparison(frames, {"0%": half | True, "50%": half})
    """
    rows = {name: np.asarray(row) for name, row in kept_by_name.items()}
    masks = [row for row in rows.values() if not are_groups(row)]
    shapes = [row.shape for row in masks]
    rule = "Variants must have one shape (T, P), and max_frames be 1 or more."
    received = f"shapes={shapes}, max_frames={max_frames}"
    good = rows and len(set(shapes)) <= 1 and max_frames > 0
    require(good, rule, received, "Pass at least one variant and frame.")
    for row in rows.values():
        if are_groups(row):
            frames, _, patches = check_groups(frames, row, patch_grid)
        else:
            frames, _, scores, blocks = check(frames, row, scores, grid)
    rule = "`scores` need a row of kept blocks."
    good = masks or scores is None
    require(good, rule, f"rows {', '.join(rows)}", "Leave scores out.")
    times, shown = _times(timestamps, len(frames), max_frames)
    bright, gain = painting.brightened(frames)
    frames = bright[shown]
    figure, axes = page(frames, rows, scores, SEEN if title is None else title)
    for axis, (name, row) in zip(axes, rows.items()):
        if are_groups(row):
            draw_groups(axis, frames, (name, row, shown), patches)
        else:
            draw_kept(axis, frames, (name, row, shown), blocks)
    for axis, time in zip(axes[len(rows) - 1], times):
        axis.set_xlabel(time, size=min(12, 125 / len(times)), color=INK)
    if scores is not None:
        heat = scores[shown, :, None]
        heat = painting.stretched(heat, blocks, frames)
        draw_scores(figure, axes[-1], heat, limits(scores))
    explain(figure, rows.values(), gain)
    return figure


def _times(timestamps, total, max_frames):
    """What is written under the frames that are shown, and which they are."""
    form = "frame {}" if timestamps is None else "{:.1f} s"
    times = range(total) if timestamps is None else timestamps
    rule = "`timestamps` must be (T,), one a frame."
    received = f"shape {np.shape(times)} for {total} frames"
    require(np.shape(times) == (total,), rule, received, "Pass all or None.")
    shown = np.linspace(0, total - 0.5, min(total, max_frames)).astype(int)
    return [form.format(times[frame]) for frame in shown], shown


def write_annotated(
    path,
    frames,
    kept,
    scores=None,
    *,
    fps=None,
    scale=None,
    grid=None,
    timestamps=None,
    groups=None,
    patch_grid=None,
):
    """Writes a video with pruned blocks dimmed, beside its scores if given.

    With groups, what was merged is beside it, too.

    Args:
        path: str or path-like, ending in `.mp4` or `.gif`.
        frames, kept, scores, grid, groups, patch_grid: see the top of this
            module.
        fps: float. Frames a second; default: those of the timestamps, or 2.
        scale: int. Enlarges pixels; default: to 360 a side or more.
        timestamps: optional (T,) seconds, which ascend.

    Example:

    >>> write_annotated("kept.mp4", frames, kept)  # doctest: +SKIP
    """
    import imageio.v3 as iio

    ending, fps = os.path.splitext(path)[1].lower(), _rate(fps, timestamps)
    rule = "`path` must end in .mp4 or .gif, and `fps` be positive."
    good = ending in (".mp4", ".gif") and fps > 0
    require(good, rule, f"path={path}, fps={fps}", "Change it.")
    frames, kept, scores, grid = check(frames, kept, scores, grid)
    scale = scale or painting.scale_to(360, frames)
    parts = [overlay(frames, kept, grid, scale=scale, stripes=True)]
    if groups is not None:
        parts.append(overlay_groups(frames, groups, patch_grid, scale=scale))
    if scores is not None:
        low, high = limits(scores)
        colors = import_matplotlib().colormaps[COLORMAP]
        colors = colors((scores - low) / (high - low), bytes=True)
        parts.append(painting.stretched(colors[..., :3], grid, parts[0]))
    video = painting.beside(*parts)
    if ending == ".gif":
        return iio.imwrite(path, video, duration=1000 / fps, loop=0)
    video = painting.with_even_sides(video)
    iio.imwrite(path, video, plugin="pyav", codec="libx264", fps=fps)


def _rate(fps, timestamps):
    if fps is not None or timestamps is None or len(timestamps) < 2:
        return 2.0 if fps is None else fps
    return 1 / float(np.median(np.diff(timestamps)))


def write_side_by_side(path, video, seen):
    """Writes a video beside what the model sees of it, with its sound.

    On the left every frame of the video, on the right the last frame that the
    model has seen by then, with pruned blocks dimmed and striped, or with
    merged patches in one colour. Times, size and aspect are those of the
    video; its sound is copied as it is.

    Args:
        path: str or path-like, ending in `.mp4`, `.mkv` or `.mov`.
        video: path, address or bytes of the video; see
            `keras_stts.data.read_video`.
        seen: dict, what `VideoVLM.kept_blocks` returned for this video.

    Raises:
        ValueError: If `seen` is not of this video, or the kind of file does
            not hold its sound.

    Example:
    ```python
    clips = keras_stts.datasets.shapes.generate("clips", "test", 1)
    model = keras_stts.VideoVLM.from_preset("shapes_tiny")
    seen = model.kept_blocks(clips[0]["video"])
    keras_stts.visualize.write_side_by_side(
        "seen.mp4", clips[0]["video"], seen
    )
    ```
    """
    groups = seen.get("groups")
    checked = check(seen["frames"], seen["kept"], None, seen.get("grid"))
    frames, kept, _, grid = checked

    @functools.lru_cache(1)
    def annotated(number):
        part = slice(number, number + 1)
        if groups is None:
            return overlay(frames[part], kept[part], grid, stripes=True)[0]
        patches = seen.get("patch_grid")
        return overlay_groups(frames[part], groups[part], patches)[0]

    annotated_video.write(path, video, frames, annotated, seen["timestamps"])
