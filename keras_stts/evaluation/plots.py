"""Plots of accuracy against cost, and of which blocks are kept.

Results are dicts that `keras_stts.evaluate` returned. All functions return a
matplotlib `Figure`, which notebooks display and which is saved with 150 dots
per inch; they raise a ValueError if the results cannot be plotted. Titles are
made of the benchmarks' names unless given; `""` leaves them out. Colours,
markers and hatches are those of `keras_stts.pictures.drawing`, for all readers
and for print.
"""

import numpy as np

from keras_stts.evaluation import names
from keras_stts.evaluation.results import as_list
from keras_stts.pictures import drawing

__all__ = [
    "plot_accuracy",
    "plot_kept_by_row",
    "plot_kept_over_time",
]

COSTS = {
    "tokens": (
        "video tokens that the language model reads, per question",
        lambda result: result["vision_tokens"],
    ),
    "time": (
        "seconds per question, prefill and decoding",
        lambda result: result["prefill_seconds"] + result["decode_seconds"],
    ),
    "flops": (
        "billions of operations of the prefill, per question",
        lambda result: result["flops"],
    ),
}
SIZE = (9.0, 5.6)
SHORT = 40  # Characters of a legend of which two stand side by side.


def plot_accuracy(results, cost="tokens", title=None):
    """Plot accuracy against cost, with 95% intervals.

    A line joins the results of one benchmark with the same pruning (or
    `"label"`); each result is marked with its number of frames.

    Args:
        results: A result, or a list of results.
        cost: Str, `"tokens"`, `"time"` or `"flops"`.
        title: Optional str, see the top of this module.

    Example:

    >>> result = {"benchmark": "mine", "accuracy": 0.6, "num_frames": 8}
    >>> result |= {"interval": [0.5, 0.7], "prune_ratio": 0.5}
    >>> figure = plot_accuracy([result | {"vision_tokens": 64.0}])
    """
    if cost not in COSTS:
        raise ValueError(
            f"`cost` must be one of {', '.join(COSTS)}. Received: {cost!r}."
        )
    results = as_list(results)
    _check(results, [r for r in results if r["accuracy"] is not None])
    name, value = COSTS[cost]
    if title is None:
        title = names.title(results, "Accuracy on", "Accuracy and its cost")
    figure, axis = _page(title, name, "right answers, % (95% interval)")
    found = _series(results)
    counts = {result["num_frames"] for result in results}
    for style, (series, points) in zip(drawing.lines(), found.items()):
        points = sorted(points, key=value)
        x = [value(result) for result in points]
        y = 100 * np.array([result["accuracy"] for result in points])
        ends = 100 * np.array([result["interval"] for result in points]).T
        style = dict(**style, capsize=4, linewidth=2, markersize=7)
        axis.errorbar(x, y, np.abs(ends - y), label=series, **style)
        for place, frames in _places(points, x, y).items():
            if len(counts) > 1:
                _mark(axis, frames, place, style["color"])
    axis.set_xscale("log")
    axis.margins(x=0.18, y=0.12)
    _plain_ticks(axis, unit=1e9 if cost == "flops" else 1)
    _within_percents(axis)
    one, *more = counts
    marks = "numbers beside marks: frames of the video"
    _legend(figure, title=marks if more else f"frames of the video: {one}")
    return figure


def _within_percents(axis):
    """No axis of shares goes on below 0% or above 100%."""
    low, high = axis.get_ylim()
    axis.set_ylim(max(0, low), min(100, high))


def _places(results, x, y):
    """Frames of the results at each place, as str."""
    frames = {}
    for result, place in zip(results, zip(x, y)):
        frames.setdefault(place, []).append(str(result["num_frames"]))
    return {place: ", ".join(found) for place, found in frames.items()}


def plot_kept_by_row(results, title=None):
    """Plot the share of the blocks kept in each row of the image.

    Args:
        results: List of results, at least one of a model that prunes.
        title: Optional str, see the top of this module.

    Example:

    >>> result = {"kept_by_row": [0.2, 0.5, 0.8], "prune_ratio": 0.5}
    >>> result |= {"benchmark": "mine", "num_frames": 8}
    >>> figure = plot_kept_by_row([result])
    """
    results = as_list(results)
    found = _check(results, [r for r in results if r.get("kept_by_row")])
    if title is None:
        words = "Where in the image blocks are kept"
        title = names.title(found, f"{words}:", words)
    figure, axis = _page(
        title, "blocks kept, %", "row of the image, from the top"
    )
    height, middle = 0.8 / len(found), (len(found) - 1) / 2
    for i, (style, result) in enumerate(zip(drawing.bars(), found)):
        shares = 100 * np.array(result["kept_by_row"])
        place = np.arange(1, len(shares) + 1) + height * (i - middle)
        name = _with_mean(names.legend(result, results), shares)
        axis.barh(place, shares, 0.9 * height, label=name, **style)
        _draw_mean(axis.axvline, shares, style)
    axis.invert_yaxis()
    axis.set_yticks(range(1, len(shares) + 1))
    axis.set_xlim(0, 100)
    _legend(figure)
    return figure


def plot_kept_over_time(results, title=None):
    """Plot the share of the blocks kept in each tenth of the video.

    Args:
        results: List of results, at least one of a model that prunes.
        title: Optional str, see the top of this module.

    Example:

    >>> result = {"kept_by_time": [1.0, 0.4, 0.3], "prune_ratio": 0.5}
    >>> result |= {"benchmark": "mine", "num_frames": 8}
    >>> figure = plot_kept_over_time([result])
    """
    results = as_list(results)
    found = _check(results, [r for r in results if r.get("kept_by_time")])
    if title is None:
        words = "When in the video blocks are kept"
        title = names.title(found, f"{words}:", words)
    figure, axis = _page(title, "time, % of the video", "blocks kept, %")
    for style, result in zip(drawing.lines(), found):
        shares = 100 * np.array(result["kept_by_time"])
        edges = np.linspace(0, 100, len(shares) + 1)
        name = _with_mean(names.legend(result, results), shares)
        middles = (edges[1:] + edges[:-1]) / 2
        # The line at 100% is not cut in half.
        mark = dict(color=style["color"], clip_on=False, zorder=3)
        line = dict(linestyle=style["linestyle"], linewidth=2.5, baseline=None)
        axis.stairs(shares, edges, **line, **mark)
        axis.plot(middles, shares, ls="", marker=style["marker"], **mark)
        axis.plot([], label=name, linewidth=2.5, **style)
        _draw_mean(axis.axhline, shares, style)
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 100)
    _legend(figure)
    return figure


def _with_mean(name, shares):
    return f"{name} (mean, dotted: {shares.mean():.0f}%)"


def _draw_mean(line, shares, style):
    thin = dict(linestyle=":", linewidth=1.5, color=style["color"])
    line(shares.mean(), **thin)


def _check(results, good):
    if not good:
        raise ValueError(
            "There must be a result to plot; for kept blocks, one of a model "
            f"that prunes. Received: {len(results)} results, none of this kind."
        )
    return good


def _series(results):
    """Results grouped by their label without the number of frames."""
    series = {}
    for result in results:
        name = names.legend(result, results, frames=False)
        series.setdefault(name, []).append(result)
    return series


def _page(title, x, y):
    figure = drawing.new_figure(SIZE)
    axis = figure.subplots()
    drawing.plain(axis, x, y)
    if title:
        figure.suptitle(title, **drawing.TITLE)
    return figure, axis


def _legend(figure, **about):
    _, texts = figure.axes[0].get_legend_handles_labels()
    are_short = max(map(len, texts)) <= SHORT
    place = dict(loc="outside lower left", alignment="left")
    about |= dict(title_fontsize=12, ncols=2 if are_short else 1)
    figure.legend(**place, **about, **drawing.LEGEND)


def _mark(axis, text, place, color):
    style = dict(size=11, color=color, ha="right", va="bottom")
    offset = dict(xytext=(-6, 2), textcoords="offset points")
    axis.annotate(text, place, **offset, **style)


def _plain_ticks(axis, unit):
    """Write numbers at a logarithmic axis, even if it spans little."""
    ticker = drawing.import_matplotlib().ticker
    low, high = axis.get_xlim()
    locator = ticker.LogLocator(subs=(1, 2, 5))
    if high < 5 * low:
        locator = ticker.MaxNLocator(5)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(
        ticker.FuncFormatter(lambda x, _: f"{x / unit:g}")
    )
    axis.xaxis.set_minor_locator(ticker.NullLocator())
