"""The rows of pictures in the figures of `keras_stts.visualize`."""

import numpy as np

from keras_stts.pictures import painting
from keras_stts.pictures.checks import are_groups
from keras_stts.pictures.drawing import GREY
from keras_stts.pictures.drawing import INK
from keras_stts.pictures.drawing import LEGEND
from keras_stts.pictures.drawing import LIGHT
from keras_stts.pictures.drawing import TITLE
from keras_stts.pictures.drawing import import_matplotlib
from keras_stts.pictures.drawing import new_figure

COLORMAP = "viridis"
# What rows are called.
KEPT, WHOLE, MERGED = "Kept blocks", "Video", "Merged patches"
PRUNED = "dimmed and striped: pruned, the language model does not see it"
ONE_COLOR = "flat colour: the mean of patches that were merged into one"
LEAST_SIDE = 256  # Pixels of a frame: lines and stripes are fine.
DOTS = (150, 300)  # Per inch: as many as frames have pixels, within these.


def page(frames, names, scores, title):
    """A figure with rows of axes for frames, variants and scores."""
    rows, columns = len(names) + (scores is not None), len(frames)
    ratio = frames.shape[1] / frames.shape[2]
    # Inches: at most a 16:9 slide of 13.33 by 7.5.
    side = min(11.3 / columns, 5.7 / rows / ratio)
    size = columns * side + 2, rows * side * ratio + 1.2 + 0.6 * bool(title)
    figure = new_figure(size)
    figure.set_dpi(np.clip(frames.shape[2] / side, *DOTS))
    bare = dict(xticks=[], yticks=[])
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw=bare)
    for axis in axes.flat:
        axis.spines[:].set(color=LIGHT, linewidth=0.5)
    figure.suptitle(title, **TITLE)
    return figure, axes


def draw_kept(axes, frames, row, grid):
    """Draw frames with pruned blocks dimmed.

    Args:
        axes: Axes of a row, one a frame.
        frames: Uint8 (T', H, W, 3), those that are shown.
        row: Tuple of the row's name, bool (T, P), and the numbers of the
            frames that are shown.
        grid: (rows, columns) of the P blocks.
    """
    name, kept, shown = row
    share = f"{np.mean(kept):.0%}"
    what = {KEPT: f"{share} of the video", WHOLE: "as it is read"}
    _label(axes[0], name, what.get(name, f"{share} kept"))
    masks, frames = kept[shown], _large(frames)
    pictures = painting.pruned(frames, masks, grid, stripes=True)
    for axis, picture, mask in zip(axes, pictures, masks.reshape(-1, *grid)):
        _show(axis, picture)
        size = np.divide(picture.shape[:2], grid)
        _outline(axis, mask, size, min(1.2, 5 / len(axes)))


def _outline(axis, mask, size, line):
    """Lines where a kept block meets a pruned one: white ones on black."""
    height, width = size
    y, x = np.argwhere(mask[:, 1:] != mask[:, :-1]).T * 1.0
    upright = (x + 1) * width - 0.5, y * height - 0.5
    y, x = np.argwhere(mask[1:] != mask[:-1]).T * 1.0
    level = x * width - 0.5, (y + 1) * height - 0.5
    for color, linewidth in (("black", 2 * line), ("white", line)):
        style = dict(color=color, linewidth=linewidth, capstyle="projecting")
        x, y = upright
        axis.vlines(x, y, y + height, **style)
        x, y = level
        axis.hlines(y, x, x + width, **style)


def draw_groups(axes, frames, row, grid):
    """Draw merged patches of a row with int (T, N), see `draw_kept`."""
    name, groups, shown = row
    left = np.mean([len(np.unique(frame)) for frame in groups])
    _label(axes[0], name, f"{left / groups.shape[1]:.0%} of patches left")
    pictures = painting.grouped(_large(frames), groups[shown], grid)
    for axis, picture in zip(axes, pictures):
        _show(axis, picture)


def _large(frames):
    return painting.enlarged(frames, painting.scale_to(LEAST_SIDE, frames))


def draw_scores(figure, row, heat, limits):
    """Draw scores as colours, of a height and width as the frames."""
    _label(row[0], "Scores", "low ones are pruned first")
    for axis, picture in zip(row, heat):
        image = _show(axis, picture, limits)
    inset = axis.inset_axes([1.06, 0, 0.06, 1])
    ticks = np.linspace(*limits, 3)
    bar = figure.colorbar(image, inset, ticks=ticks)
    bar.set_ticklabels([f"{tick:.3g}" for tick in ticks])
    bar.outline.set_visible(False)
    inset.tick_params(length=0, labelcolor=GREY)


def limits(scores):
    """Where the colours of scores begin and end: 0 and 1 if they fit."""
    low, high = float(scores.min()), float(scores.max())
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def explain(figure, rows, gain):
    """The legend: what dimming, stripes and colours mean."""
    patch, handles = import_matplotlib().patches.Patch, []
    groups = [are_groups(row) for row in rows]
    if not all(np.all(row) for row, of in zip(rows, groups) if not of):
        style = dict(facecolor="#3a3a3a", edgecolor="#b0b0b0", hatch="////")
        handles.append(patch(label=PRUNED, linewidth=0, **style))
    if any(groups):
        style = dict(facecolor="#b8b8b8", edgecolor=INK)
        handles.append(patch(label=ONE_COLOR, **style))
    if gain > 1:
        text = f"a dark video, shown {gain:.1f} times as bright"
        handles.append(patch(label=text, facecolor="none"))
    if handles:
        figure.legend(handles=handles, loc="outside lower left", **LEGEND)


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
