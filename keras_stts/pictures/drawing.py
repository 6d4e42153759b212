"""What all plots share: the import of matplotlib, figures and their style.

`COLORS` differ in lightness as well: they can be told apart by readers with any
kind of colour blindness, and in print without colour. Lines also differ by
marker, bars by hatch.
"""

import itertools

INK, GREY, LIGHT = "#1f2328", "#6e7781", "#e6e8ea"
COLORS = ("#064e6e", "#b53944", "#5ca8a4", "#5d0322", "#a165dc", "#fba15f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "++")
TITLE = dict(x=0.02, ha="left", size=19, weight="bold", color=INK)
# Long enough to show dashes.
LEGEND = dict(frameon=False, fontsize=12, labelcolor=INK, handlelength=3)


def import_matplotlib():
    """matplotlib, which is optional and imported at the first plot.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import matplotlib.figure
        import matplotlib.ticker  # noqa: F401
    except ImportError as error:
        raise ImportError("Drawing needs it: pip install matplotlib") from error
    return matplotlib


def new_figure(size):
    """A figure of a size in inches, which notebooks display."""
    import_matplotlib()
    from keras_stts.pictures.figure import ShownFigure

    figure = ShownFigure(size, dpi=150, layout="compressed")
    figure.get_layout_engine().set(rect=(0.01, 0.02, 0.98, 0.96))
    return figure


def lines():
    """Styles of lines, one after the other, without end.

    Yields:
        Dict of `"color"`, `"marker"` and `"linestyle"`, no two alike among the
        first 24.
    """
    for i in itertools.count():
        yield {
            "color": COLORS[i % len(COLORS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": ("-", "--", ":", "-.")[i // len(COLORS) % 4],
        }


def bars():
    """Styles of bars, one after the other: dicts of colours and `"hatch"`."""
    for i in itertools.count():
        yield {
            "color": COLORS[i % len(COLORS)],
            "hatch": HATCHES[i % len(HATCHES)],
            "edgecolor": "white",
            "linewidth": 0,
        }


def plain(axis, x, y):
    """Label an axis and take away what does not inform."""
    axis.set_xlabel(x, size=13, color=INK)
    axis.set_ylabel(y, size=13, color=INK)
    axis.tick_params(labelsize=12, colors=GREY, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(GREY)
    axis.grid(color=LIGHT, linewidth=0.8)
    axis.set_axisbelow(True)
