"""Plots of accuracy against cost, and of which blocks are kept.

Results are dicts that `keras_stts.evaluate` returned. All functions return a
matplotlib `Figure`, which notebooks display and which is saved with 150 dots
per inch; they raise a ValueError if the results cannot be plotted.
"""

import numpy as np

from keras_stts.drawing import GREY
from keras_stts.drawing import INK
from keras_stts.drawing import import_matplotlib
from keras_stts.drawing import new_figure
from keras_stts.evaluation.results import as_list
from keras_stts.evaluation.results import label
from keras_stts.evaluation.results import pruned

__all__ = [
    "plot_accuracy",
    "plot_kept_by_row",
    "plot_kept_over_time",
]

COSTS = {
    "tokens": (
        "vision tokens that the language model sees, per question",
        lambda result: result["vision_tokens"],
    ),
    "time": (
        "seconds per question, prefill and decoding",
        lambda result: result["prefill_seconds"] + result["decode_seconds"],
    ),
    "flops": (
        "operations of the prefill, per question",
        lambda result: result["flops"],
    ),
}
COLORS = ("#3b528b", "#21918c", "#e07a3f", "#8b3b76", "#5a9e3e", "#6e7781")
SIZE = (9.0, 5.6)


def plot_accuracy(results, cost="tokens", title=None):
    """Plot accuracy against cost, with 95% intervals.

    A line joins the results of one benchmark with the same pruning (or
    `"label"`); each result is marked with its number of frames.

    Args:
        results: A result, or a list of results.
        cost: Str, `"tokens"`, `"time"` or `"flops"`.
        title: Optional str.

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
    figure, axis = _page(title, name, "accuracy, %")
    for color, (series, points) in zip(_colors(), _series(results).items()):
        points = sorted(points, key=value)
        x = [value(result) for result in points]
        y = 100 * np.array([result["accuracy"] for result in points])
        ends = 100 * np.array([result["interval"] for result in points]).T
        style = dict(color=color, marker="o", capsize=4, linewidth=2)
        axis.errorbar(x, y, np.abs(ends - y), label=series, **style)
        for place, frames in _places(points, x, y).items():
            _mark(axis, f"{frames} frames", place, color)
    axis.set_xscale("log")
    axis.margins(x=0.18, y=0.12)
    _plain_ticks(axis)
    axis.legend(frameon=False, loc="lower right", fontsize=12)
    return figure


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
        title: Optional str.

    Example:

    >>> result = {"kept_by_row": [0.2, 0.5, 0.8], "prune_ratio": 0.5}
    >>> result |= {"benchmark": "mine", "num_frames": 8}
    >>> figure = plot_kept_by_row([result])
    """
    results = as_list(results)
    found = _check(results, [r for r in results if r.get("kept_by_row")])
    figure, axis = _page(title, "blocks kept, %", "row of the image")
    height, middle = 0.8 / len(found), (len(found) - 1) / 2
    for i, (color, result) in enumerate(zip(_colors(), found)):
        shares = 100 * np.array(result["kept_by_row"])
        place = np.arange(1, len(shares) + 1) + height * (i - middle)
        name = _name(result, results)
        axis.barh(place, shares, 0.9 * height, color=color, label=name)
        axis.axvline(shares.mean(), color=color, linestyle=":", linewidth=1.5)
    axis.invert_yaxis()
    axis.set_yticks(range(1, len(shares) + 1))
    axis.set_xlim(0, 100)
    axis.legend(frameon=False, fontsize=12)
    return figure


def plot_kept_over_time(results, title=None):
    """Plot the share of the blocks kept in each tenth of the video.

    Args:
        results: List of results, at least one of a model that prunes.
        title: Optional str.

    Example:

    >>> result = {"kept_by_time": [1.0, 0.4, 0.3], "prune_ratio": 0.5}
    >>> result |= {"benchmark": "mine", "num_frames": 8}
    >>> figure = plot_kept_over_time([result])
    """
    results = as_list(results)
    found = _check(results, [r for r in results if r.get("kept_by_time")])
    figure, axis = _page(title, "part of the video, %", "blocks kept, %")
    for color, result in zip(_colors(), found):
        shares = 100 * np.array(result["kept_by_time"])
        edges = np.linspace(0, 100, len(shares) + 1)
        name = _name(result, results)
        style = dict(color=color, linewidth=2.5, baseline=None)
        axis.stairs(shares, edges, label=name, **style)
        axis.axhline(shares.mean(), color=color, linestyle=":", linewidth=1.5)
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 105)
    axis.legend(frameon=False, fontsize=12)
    return figure


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
        series.setdefault(_name(result, results, frames=False), []).append(
            result
        )
    return series


def _name(result, results, *, frames=True):
    """A result's label, with its benchmark if there are several."""
    name = result.get("label") or pruned(result)
    name = label(result) if frames else name
    several = len({other["benchmark"] for other in results}) > 1
    return f"{result['benchmark']}, {name}" if several else name


def _colors():
    while True:
        yield from COLORS


def _page(title, x, y):
    figure = new_figure(SIZE)
    axis = figure.subplots()
    axis.set_xlabel(x, size=13, color=INK)
    axis.set_ylabel(y, size=13, color=INK)
    axis.tick_params(labelsize=12, colors=GREY, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(GREY)
    axis.grid(color="#e6e8ea", linewidth=0.8)
    axis.set_axisbelow(True)
    if title:
        figure.suptitle(title, x=0.02, ha="left", size=19, weight="bold")
    return figure, axis


def _mark(axis, text, place, color):
    clear = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1)
    style = dict(size=12, color=color, ha="right", bbox=clear)
    offset = dict(xytext=(-8, 6), textcoords="offset points")
    axis.annotate(text, place, **offset, **style)


def _plain_ticks(axis):
    """Write numbers at a logarithmic axis, even if it spans little."""
    ticker = import_matplotlib().ticker
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
