"""Tables and plots of results."""

import io

import numpy as np
import pytest

from keras_stts.evaluation import BENCHMARKS
from keras_stts.evaluation import names
from keras_stts.evaluation import plots
from keras_stts.evaluation import table


def result(benchmark="nextqa", frames=64, ratio=0.5, **changes):
    return {
        "benchmark": benchmark,
        "group": "long" if benchmark == "mlvu" else "short",
        "num_frames": frames,
        "prune_ratio": ratio,
        "accuracy": 0.6,
        "interval": [0.5, 0.7],
        "n": 100,
        "unparsed": 0.0,
        "unreadable": 0,
        "not_asked": 0,
        "vision_tokens": 40.0 * frames * (1 - ratio),
        "prompt_tokens": 100.0,
        "prefill_seconds": 0.25,
        "decode_seconds": 0.05,
        "flops": 2e12,
        "peak_memory": {"host": 2**30, "device": None},
        "kept_by_row": [0.4, 0.6] if ratio else None,
        "kept_by_time": [1.0, 0.5, 0.0] if ratio else None,
        **changes,
    }


def test_table_by_hand():
    results = [
        result(),
        result("tomato", accuracy=0.3, interval=[0.2, 0.412]),
        result("mlvu", accuracy=0.51, interval=[0.5, 0.52], unreadable=2),
        result(ratio=0.0, accuracy=0.62, unparsed=0.02, not_asked=7),
    ]
    assert table(results).split("\n") == [
        "                  64 frames, 50% pruned  64 frames, 0% pruned",
        "nextqa                 60.0 (50.0-70.0)      62.0 (50.0-70.0)",
        "tomato                 30.0 (20.0-41.2)                     -",
        "mlvu                   51.0 (50.0-52.0)                     -",
        "mean of 2, short                   45.0                     -",
        "mean of 3, all                     47.0                     -",
        "vision tokens                   1,280.0               2,560.0",
        "prompt tokens                     100.0                 100.0",
        "prefill, ms                       250.0                 250.0",
        "decode, ms                         50.0                  50.0",
        "prefill, GFLOP                  2,000.0               2,000.0",
        "host memory, MiB                1,024.0               1,024.0",
        "mlvu, 64 frames, 50% pruned: 2 questions about unreadable videos",
        "nextqa, 64 frames, 0% pruned: 7 questions not asked",
        "nextqa, 64 frames, 0% pruned: 2.0% could not be parsed",
    ]


def test_one_result_alone():
    assert table(result()) == table([result()])
    for plot in (plots.plot_accuracy, plots.plot_kept_by_row):
        assert plot(result()).axes


def test_a_label_is_a_column_and_no_two_results_share_a_cell():
    text = table([result(label="STTS"), result(label="random")])
    assert text.startswith(" " * 16) and "STTS" in text.split("\n")[0]
    with pytest.raises(ValueError, match="two of nextqa, STTS"):
        table([result(label="STTS"), result(label="STTS")])


def test_a_result_of_nothing(capsys):
    none = dict.fromkeys(("accuracy", "interval", "prefill_seconds"))
    assert "nextqa" in table([result(n=0, **none)])


def save(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def legend(figure):
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


@pytest.mark.parametrize(
    ("cost", "wanted"),
    [("tokens", [640, 1280]), ("time", [0.3, 0.3]), ("flops", [2e12, 2e12])],
)
def test_accuracy_against_cost(cost, wanted):
    pytest.importorskip("matplotlib")
    results = [result(), result(frames=32, accuracy=0.5), result(ratio=0.0)]
    figure = plots.plot_accuracy(results, cost, "A title")
    (axis,) = figure.axes
    pruned, whole = axis.containers
    line = pruned.lines[0]
    np.testing.assert_allclose(line.get_xdata(False), wanted)
    assert set(line.get_ydata(False)) == {50, 60}
    (bars,) = pruned.lines[2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert sorted(ends) == [[50, 70], [50, 70]]
    assert legend(figure) == ["50% pruned by STTS", "unpruned"]
    marks = [text.get_text() for text in axis.texts]
    assert sorted(marks) == ["32", "64", "64"]
    assert save(figure)[:4] == b"\x89PNG"


def test_one_number_of_frames_and_a_narrow_range():
    pytest.importorskip("matplotlib")
    results = [result(), result(ratio=0.0) | {"flops": 2.2e12}]
    figure = plots.plot_accuracy(results, "flops")
    (axis,) = figure.axes
    assert not axis.texts
    assert figure.legends[0].get_title().get_text() == "frames of the video: 64"
    save(figure)
    low, high = axis.get_xlim()
    shown = [
        text.get_text()
        for place, text in zip(axis.get_xticks(), axis.get_xticklabels())
        if low < place < high
    ]
    assert len(shown) > 2
    assert all(1900 < float(text) < 2300 for text in shown)


def test_kept_by_row_and_over_time():
    pytest.importorskip("matplotlib")
    results = [result(), result(ratio=0.0), result("mlvu")]
    figure = plots.plot_kept_by_row(results)
    (axis,) = figure.axes
    bars = [[bar.get_width() for bar in bars] for bars in axis.containers]
    np.testing.assert_allclose(bars, [[40, 60]] * 2)
    assert axis.yaxis_inverted()  # Row 1 is the top one.
    assert axis.get_xlim() == (0, 100)
    assert legend(figure) == [
        f"{name}: 64 frames, 50% pruned by STTS (mean, dotted: 50%)"
        for name in ("NExT-QA", "MLVU")
    ]
    hatches = {bars[0].get_hatch() for bars in axis.containers}
    assert len(hatches) == 2  # They differ in print, too.
    figure = plots.plot_kept_over_time(results, "A title")
    steps = figure.axes[0].patches
    np.testing.assert_allclose(steps[0].get_data().values, [100, 50, 0])
    assert figure.axes[0].get_ylim() == (0, 100)
    assert save(figure)[:4] == b"\x89PNG"


def test_titles_name_what_readers_know():
    pytest.importorskip("matplotlib")
    one = [result("video_mme", frames=32), result("video_mme")]
    assert plots.plot_accuracy(one).get_suptitle() == "Accuracy on Video-MME"
    several = [*one, result("mine")]
    title = plots.plot_accuracy(several).get_suptitle()
    assert title == "Accuracy and its cost"
    assert plots.plot_accuracy(one, title="").get_suptitle() == ""
    title = plots.plot_kept_by_row(one).get_suptitle()
    assert title == "Where in the image blocks are kept: Video-MME"
    published = {name for name in BENCHMARKS if name != "shapes"}
    assert set(names.BENCHMARKS) == published


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "50% pruned by STTS"),
        ({"prune_ratio": 0.0}, "unpruned"),
        ({"pruning": "tome"}, "50% merged by ToMe"),
        ({"pruning": "random"}, "50% pruned by random choice"),
        ({"pruning": {"class_name": "EVS", "config": {}}}, "50% pruned by EVS"),
        ({"label": "mine"}, "mine"),
    ],
)
def test_variants_have_names(changes, wanted):
    assert names.variant(result() | changes) == wanted


def test_shares_end_at_a_hundred_percent():
    pytest.importorskip("matplotlib")
    high = {"accuracy": 0.99, "interval": [0.97, 1.0]}
    low = {"accuracy": 0.01, "interval": [0.0, 0.03]}
    figure = plots.plot_accuracy([result(**high), result(frames=32, **low)])
    assert figure.axes[0].get_ylim() == (0, 100)


def test_plots_say_what_is_missing():
    with pytest.raises(ValueError, match="one of tokens, time, flops"):
        plots.plot_accuracy([result()], "money")
    whole = [result(ratio=0.0)]
    for plot in (plots.plot_kept_by_row, plots.plot_kept_over_time):
        with pytest.raises(ValueError, match="of a model that prunes"):
            plot(whole)
    with pytest.raises(ValueError, match="Received: 0 results"):
        plots.plot_accuracy([])
