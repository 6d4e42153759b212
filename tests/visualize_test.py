import builtins
import gc
import io
import weakref

import numpy as np
import pytest

import keras_stts
from keras_stts import visualize

matplotlib = pytest.importorskip("matplotlib")


def make(num_frames=3, side=6, blocks=9, seed=0):
    """Gives random frames, kept blocks (all of frame 0) and scores."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (num_frames, side, side, 3), "uint8")
    scores = rng.random((num_frames, blocks))
    kept = scores > 0.5
    kept[0] = True
    return frames, kept, scores


def pictures(axis):
    return [np.asarray(image.get_array()) for image in axis.get_images()]


def save(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


# overlay


def test_overlay_keeps_and_dims_by_hand():
    frames = np.zeros((2, 2, 4, 3), "uint8")
    frames[0], frames[1] = (255, 0, 0), (90, 90, 90)
    kept = np.array([[True, False], [False, True]])
    result = visualize.overlay(frames, kept, grid=(1, 2))
    assert result.dtype == "uint8"
    assert result[0, :, :2].reshape(-1, 3).tolist() == [[255, 0, 0]] * 4
    # Pruned red: dark, and its channels nearly alike.
    red, green, blue = result[0, 0, 2].tolist()
    assert 0 < green == blue < red < 60
    assert result[1, :, 0].max() < 45
    assert (result[1, :, 2:] == 90).all()
    assert (frames[1] == 90).all()


def test_overlay_scales_pixels_and_cuts_blocks_that_do_not_fit():
    frames = np.full((1, 5, 5, 3), 100, "uint8")
    kept = np.array([[True, False, False, True]])
    result = visualize.overlay(frames, kept, scale=3)
    assert result.shape == (1, 15, 15, 3)
    # 15 pixels for 2 blocks: 8 and 7 of them.
    bright = result[0, :, :, 0] == 100
    expected = np.zeros((15, 15), "bool")
    expected[:8, :8] = expected[8:, 8:] = True
    np.testing.assert_array_equal(bright, expected)
    frames, kept, _ = make()
    result = visualize.overlay(frames, kept | True, scale=3)
    for offset in range(3):
        np.testing.assert_array_equal(result[:, offset::3, ::3], frames)


@pytest.mark.parametrize("scale", [0, -1, 1.5])
def test_overlay_scale_must_be_whole(scale):
    frames, kept, _ = make()
    with pytest.raises(ValueError, match=f"whole number.*scale={scale}. Pass"):
        visualize.overlay(frames, kept, scale=scale)


# Figures


def test_plot_kept_draws_frames_times_and_scores():
    frames, kept, scores = make()
    figure = visualize.plot_kept(
        frames, kept, scores, timestamps=[0.0, 0.5, 12.25], title="A title"
    )
    axes = np.reshape(figure.axes, (2, 3))
    expected = visualize.overlay(frames, kept)
    for frame in range(3):
        (drawn,) = pictures(axes[0, frame])
        np.testing.assert_array_equal(drawn, expected[frame])
        (image,) = axes[1, frame].get_images()
        assert image.get_clim() == (0, 1)
        np.testing.assert_allclose(
            np.asarray(image.get_array())[::2, ::2].ravel(),
            scores[frame],
            rtol=1e-6,
        )
    labels = [axis.get_xlabel() for axis in axes[0]]
    assert labels == ["0.0 s", "0.5 s", "12.2 s"]
    assert figure.get_suptitle() == "A title"
    (bar,) = axes[1, 2].child_axes
    assert bar.get_ylim() == (0, 1)
    assert save(figure)[:4] == b"\x89PNG"


def test_outlines_lie_between_kept_and_pruned():
    frames = np.zeros((1, 6, 9, 3), "uint8")
    kept = np.array([[True, True, False, True, True, True]])
    figure = visualize.plot_kept(frames, kept, grid=(2, 3))
    upright, level = figure.axes[0].collections
    corners = [path.vertices.tolist() for path in upright.get_paths()]
    assert corners == [[[5.5, -0.5], [5.5, 2.5]]]
    corners = [path.vertices.tolist() for path in level.get_paths()]
    assert corners == [[[5.5, 2.5], [8.5, 2.5]]]


def test_many_frames_are_thinned_evenly_from_frame_0():
    frames, kept, _ = make(num_frames=30)
    figure = visualize.plot_kept(frames, kept, max_frames=4)
    labels = [axis.get_xlabel() for axis in figure.axes]
    assert labels == ["frame 0", "frame 9", "frame 19", "frame 29"]
    figure = visualize.plot_kept(frames, kept, max_frames=1)
    assert [axis.get_xlabel() for axis in figure.axes] == ["frame 0"]
    figure = visualize.plot_kept(frames, kept, max_frames=99)
    labels = [axis.get_xlabel() for axis in figure.axes]
    assert labels == [f"frame {index}" for index in range(30)]


def test_plot_comparison_has_a_labelled_row_a_variant():
    frames, kept, scores = make(num_frames=2)
    quarter = np.zeros((2, 9), "bool")
    quarter[0] = True
    names = {"none": kept | True, "half": quarter}
    figure = visualize.plot_comparison(frames, names, scores)
    axes = np.reshape(figure.axes, (3, 2))
    texts = [[text.get_text() for text in row[0].texts] for row in axes]
    assert texts == [
        ["none", "100% kept"],
        ["half", "50% kept"],
        ["Scores", "low ones leave first"],
    ]
    for row, mask in enumerate(names.values()):
        expected = visualize.overlay(frames, mask)
        for frame in range(2):
            (drawn,) = pictures(axes[row, frame])
            np.testing.assert_array_equal(drawn, expected[frame])


@pytest.mark.parametrize("side", [48, 378])
def test_pages_fit_a_slide_and_small_frames_stay_crisp(side):
    frames, kept, scores = make(num_frames=8, side=side)
    names = {"0%": kept | True, "50%": kept, "80%": kept}
    figure = visualize.plot_comparison(frames, names, scores, title="Title")
    width, height = figure.get_size_inches()
    assert width <= 13.4 and height <= 7.6
    assert figure.dpi == 150
    smooth = {i.get_interpolation() for a in figure.axes for i in a.images}
    assert (smooth == {"nearest"}) == (side == 48)


def test_rows_have_titles_and_dimming_is_explained():
    frames, kept, scores = make(num_frames=2)
    kept[1] = False
    figure = visualize.plot_kept(frames, kept, scores)
    axes = np.reshape(figure.axes, (2, 2))
    texts = [[text.get_text() for text in row[0].texts] for row in axes]
    assert texts[0] == ["Kept blocks", "50% of the video"]
    assert texts[1][0] == "Scores"
    (legend,) = figure.legends
    (text,) = [text.get_text() for text in legend.get_texts()]
    assert "dimmed: pruned" in text
    assert not visualize.plot_kept(frames, kept | True).legends


@pytest.mark.parametrize(
    ("low", "high", "limits", "ticks"),
    [
        (0.2, 0.9, (0, 1), ["0", "0.5", "1"]),
        (0.0, 1.25, (0, 1.25), ["0", "0.625", "1.25"]),  # EVS
        (0.056, 3.677, (0.056, 3.677), ["0.056", "1.87", "3.68"]),  # VidCom2
        (-4.0, -2.0, (-4, -2), ["-4", "-3", "-2"]),
        (5.0, 5.0, (5, 6), ["5", "5.5", "6"]),
    ],
)
def test_scores_never_exceed_the_colours(low, high, limits, ticks):
    frames, kept, scores = make()
    scores[:] = low
    scores[1, 4] = high
    figure = visualize.plot_kept(frames, kept, scores, max_frames=2)
    drawn = [axis.get_images()[0] for axis in figure.axes[2:]]
    for image in drawn:
        assert image.get_clim() == pytest.approx(limits)
    (bar,) = figure.axes[3].child_axes
    assert [text.get_text() for text in bar.get_yticklabels()] == ticks


def test_frames_keep_their_aspect():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 90, 160, 3), "uint8")
    kept = np.arange(18).reshape(2, 9) % 2 == 0
    figure = visualize.plot_kept(frames, kept)
    figure.draw_without_rendering()
    (picture,) = pictures(figure.axes[0])
    assert picture.shape == (90, 160, 3)
    box = figure.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(160 / 90, rel=0.01)


def shown():
    frames, kept, scores = make()
    row = {"accuracy": 0.6, "num_frames": 8, "interval": [0.5, 0.7]}
    row |= {"benchmark": "mine", "prune_ratio": 0.5, "vision_tokens": 64.0}
    row |= {"kept_by_row": [0.2, 0.5], "kept_by_time": [1.0, 0.4]}
    plots = keras_stts.evaluation.plots
    return [
        visualize.plot_kept(frames, kept, scores),
        visualize.plot_comparison(frames, {"a": kept}),
        plots.plot_accuracy([row]),
        plots.plot_kept_by_row([row]),
        plots.plot_kept_over_time([row]),
    ]


def test_notebooks_show_figures():
    """IPython asks for `_repr_png_`, for a cell's last line and `display`."""
    for figure in shown():
        assert isinstance(figure, matplotlib.figure.Figure)
        assert figure._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("inline", [False, True])
def test_ipython_displays_figures(inline):
    core = pytest.importorskip("IPython.core")
    from IPython.core import formatters
    from IPython.core import pylabtools

    formatter = formatters.DisplayFormatter()
    if inline:  # As after `%matplotlib inline`.
        shell = type("Shell", (), {"display_formatter": formatter})
        pylabtools.select_figure_formats(shell, {"png"})
    assert core is not None
    data, _ = formatter.format(shown()[0])
    start = "iVBOR" if inline else b"\x89PNG"  # The one is base64.
    assert data["image/png"].startswith(start)


def test_figures_leave_pyplot_alone():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    for figure in shown():
        save(figure)
    assert pyplot.get_fignums() == before


def test_figures_do_not_outlive_their_names():
    figures = [weakref.ref(figure) for figure in shown()]
    gc.collect()
    assert not any(figure() for figure in figures)


def test_missing_matplotlib_is_named(monkeypatch):
    find = builtins.__import__

    def find_others(name, *arguments):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return find(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", find_others)
    frames, kept, _ = make()
    with pytest.raises(ImportError, match="pip install matplotlib"):
        visualize.plot_kept(frames, kept)
    visualize.overlay(frames, kept)


# Files


@pytest.mark.parametrize("ending", [".mp4", ".gif", ".GIF"])
@pytest.mark.parametrize("with_scores", [False, True])
def test_write_annotated(tmp_path, ending, with_scores):
    iio = pytest.importorskip("imageio.v3")
    frames, kept, scores = make(num_frames=4, side=9)
    frames[...] = frames[..., :1]  # Video codecs blur colours, not greys.
    path = tmp_path / f"a{ending}"
    visualize.write_annotated(
        path, frames, kept, scores if with_scores else None, fps=2.0, scale=5
    )
    video = iio.imread(path)[..., :3]
    # 45 pixels a side, and a gutter of 8; mp4 adds one for even sides.
    width = 45 + (8 + 45) * with_scores
    even = ending == ".mp4"
    assert video.shape == (4, 45 + even, width + width % 2 * even, 3)
    expected = visualize.overlay(frames, kept, scale=5).astype(int)
    assert np.abs(video[:, :45, :45] - expected).mean() < 8
    if with_scores:
        import matplotlib

        colors = matplotlib.colormaps["viridis"](scores, bytes=True)[..., :3]
        drawn = video[:, 7:45:15, 53 + 7 : 98 : 15].reshape(4, 9, 3)
        assert np.abs(drawn.astype(int) - colors).mean() < 12
        assert video[:, :, 48].min() > 230


def test_write_annotated_enlarges_small_frames(tmp_path):
    iio = pytest.importorskip("imageio.v3")
    frames, kept, _ = make(side=48)
    path = str(tmp_path / "a.mp4")
    visualize.write_annotated(path, frames, kept, fps=4)
    assert iio.imread(path).shape == (3, 384, 384, 3)
    assert iio.immeta(path, plugin="pyav")["fps"] == 4


@pytest.mark.parametrize(
    "name, fps", [("a.avi", 2.0), ("mp4", 2.0), ("a.mp4", 0), ("a.gif", -1.0)]
)
def test_write_annotated_wants_mp4_or_gif(tmp_path, name, fps):
    frames, kept, _ = make()
    path = tmp_path / name
    with pytest.raises(ValueError, match=f"end in .mp4 .*{name}, fps={fps}. "):
        visualize.write_annotated(path, frames, kept, fps=fps)
    assert not path.exists()


# Shapes

FRAMES, KEPT, SCORES = make()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": FRAMES / 255}, "`frames` must be .* dtype float64. Stack"),
        ({"frames": FRAMES[0]}, "`frames` must be .*shape .6, 6, 3., dtype"),
        ({"frames": FRAMES[:0]}, "`frames` must be .*shape .0, 6, 6, 3., dt"),
        ({"kept": KEPT[:2]}, "`kept` must be .*shape .2, 9.*3 frames. Pass"),
        ({"kept": KEPT[0]}, "`kept` must be bool .*shape .9,., dtype bool"),
        ({"kept": SCORES}, "`kept` must be bool .*dtype float64"),
        ({"kept": KEPT[:, :8]}, "must fill a grid.*P=8, grid=.2, 2.. Pass"),
        ({"grid": (3, 4)}, "must fill a grid.*P=9, grid=.3, 4.. Pass"),
        ({"scores": SCORES[:, :4]}, "`scores` must be .*shape .3, 4. for kept"),
        (
            {"scores": SCORES + np.inf},
            "`scores` must be finite.*27 NaN or infin",
        ),
        ({"timestamps": [0.0]}, "`timestamps` must be .*shape .1,. for 3"),
        ({"max_frames": 0}, "max_frames be 1 or more.*max_frames=0. Pass"),
    ],
)
def test_wrong_shapes(change, message):
    arguments = {"frames": FRAMES, "kept": KEPT, "scores": SCORES} | change
    with pytest.raises(ValueError, match=message):
        visualize.plot_kept(**arguments)


def test_variants_must_be_there_and_alike():
    with pytest.raises(ValueError, match=r"one shape.*shapes=\[\], max"):
        visualize.plot_comparison(FRAMES, {})
    names = {"a": KEPT, "b": KEPT[:, :4]}
    with pytest.raises(ValueError, match=r"one shape.*\(3, 9\), \(3, 4\)"):
        visualize.plot_comparison(FRAMES, names)
