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


def test_stripes_show_in_scenes_of_any_light():
    kept = np.array([[True, False]])
    for light in (0, 30, 128, 255):
        frames = np.full((1, 24, 48, 3), light, "uint8")
        result = visualize.overlay(frames, kept, (1, 2), stripes=True)
        assert (result[0, :, :24] == light).all()
        pruned = result[0, :, 24:, 0].astype(int)
        dim, bright = np.unique(pruned)
        assert bright - dim > 80  # Seen in print without colour, too.
        assert 0.1 < (pruned == bright).mean() < 0.4


def test_groups_have_their_mean_colour():
    frames = np.zeros((1, 4, 8, 3), "uint8")
    frames[0, :, :4], frames[0, :, 4:] = (200, 0, 0), (100, 40, 0)
    # The upper patches are one, the lower ones two.
    groups = np.array([[0, 0, 2, 3]])
    result = visualize.overlay_groups(frames, groups, scale=4)
    assert result.shape == (1, 16, 32, 3)
    assert result[0, 2, 5].tolist() == result[0, 2, 25].tolist() == [150, 20, 0]
    assert result[0, 12, 5].tolist() == [200, 0, 0]
    # A line below, and between the patches that are two.
    assert (result[0, 8, 5] > result[0, 12, 5])[1:].all()
    assert (result[0, 12, 16] != [100, 40, 0]).any()
    assert (result[0, 3, 16] == [150, 20, 0]).all()
    wide = visualize.overlay_groups(frames, groups, (1, 4))
    assert (wide[0, :, 1] == [200, 0, 0]).all()  # Of the first four columns.


# Figures


def test_plot_kept_draws_frames_times_and_scores():
    frames, kept, scores = make()
    figure = visualize.plot_kept(
        frames, kept, scores, timestamps=[0.0, 0.5, 12.25], title="A title"
    )
    axes = np.reshape(figure.axes, (2, 3))
    large = frames.repeat(43, 1).repeat(43, 2)  # 256 pixels or more.
    expected = visualize.overlay(large, kept, stripes=True)
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
    # White on black, which shows in bright scenes as well; enlarged by 29.
    for number in (0, 2):
        upright, level = figure.axes[0].collections[number : number + 2]
        (corners,) = [path.vertices.tolist() for path in upright.get_paths()]
        assert corners == [[173.5, -0.5], [173.5, 86.5]]
        (corners,) = [path.vertices.tolist() for path in level.get_paths()]
        assert corners == [[173.5, 86.5], [260.5, 86.5]]
    colors = [lines.get_color() for lines in figure.axes[0].collections]
    assert [color[0, 0] for color in colors] == [0, 0, 1, 1]


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
        ["Scores", "low ones are pruned first"],
    ]
    large = frames.repeat(43, 1).repeat(43, 2)
    for row, mask in enumerate(names.values()):
        expected = visualize.overlay(large, mask, stripes=True)
        for frame in range(2):
            (drawn,) = pictures(axes[row, frame])
            np.testing.assert_array_equal(drawn, expected[frame])


@pytest.mark.parametrize("side", [48, 378])
def test_pages_fit_a_slide_and_frames_keep_their_pixels(side):
    frames, kept, scores = make(num_frames=8, side=side)
    names = {"0%": kept | True, "50%": kept, "80%": kept}
    figure = visualize.plot_comparison(frames, names, scores, title="Title")
    width, height = figure.get_size_inches()
    assert width <= 13.4 and height <= 7.6
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert 150 <= figure.dpi <= 300 and box.width >= 0.9 * min(side, 300)


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
    assert "dimmed and striped: pruned" in text
    assert figure.get_suptitle() == "What the language model sees of the video"
    assert visualize.plot_kept(frames, kept, title="").get_suptitle() == ""
    assert not visualize.plot_kept(frames, kept | True).legends


def test_merged_patches_have_a_row_of_their_own():
    frames, kept, _ = make(num_frames=2)
    groups = np.array([[0, 0, 2, 2], [0, 1, 2, 2]])
    figure = visualize.plot_kept(frames, kept | True, groups=groups)
    axes = np.reshape(figure.axes, (2, 2))
    texts = [[text.get_text() for text in row[0].texts] for row in axes]
    assert texts == [
        ["Video", "as it is read"],
        ["Merged patches", "62% of patches left"],
    ]
    assert [axis.get_xlabel() for axis in axes[1]] == ["frame 0", "frame 1"]
    (drawn,) = pictures(axes[1, 0])
    expected = visualize.overlay_groups(frames, groups, scale=43)
    np.testing.assert_array_equal(drawn, expected[0])
    (legend,) = figure.legends
    (text,) = [text.get_text() for text in legend.get_texts()]
    assert "the mean of patches that were merged" in text
    title = figure.get_suptitle()
    assert title == "Which patches the vision encoder merges"
    rows = {"STTS": kept, "ToMe": groups}
    figure = visualize.plot_comparison(frames, rows)
    assert len(figure.axes) == 4 and len(figure.legends[0].get_texts()) == 2
    assert visualize.plot_comparison(frames, {"ToMe": groups}).axes


def test_dark_videos_are_drawn_brighter_and_say_so():
    frames = np.full((2, 48, 48, 3), 40, "uint8")
    kept = np.arange(32).reshape(2, 16) < 20
    figure = visualize.plot_kept(frames, kept)
    (drawn,) = pictures(figure.axes[0])
    assert drawn[2, 2].tolist() == [220] * 3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[1] == "a dark video, shown 5.5 times as bright"
    frames[1, :5] = 200  # It has a bright place.
    figure = visualize.plot_kept(frames, kept)
    assert pictures(figure.axes[0])[0][2, 2].tolist() == [40] * 3
    black = visualize.plot_kept(np.zeros_like(frames), kept)
    assert (pictures(black.axes[0])[0][2, 2] == 0).all()


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
    assert picture.shape == (180, 320, 3)
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
    expected = visualize.overlay(frames, kept, scale=5, stripes=True)
    expected = expected.astype(int)
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


def test_write_annotated_takes_what_a_model_returns(tmp_path):
    iio = pytest.importorskip("imageio.v3")
    frames, kept, _ = make(side=48)
    seen = {"frames": frames, "kept": kept, "timestamps": [0.0, 0.25, 0.5]}
    seen |= {"scores": None, "grid": (3, 3), "patch_grid": (2, 2)}
    seen["groups"] = np.zeros((3, 4), "int32")
    path = tmp_path / "a.mp4"
    visualize.write_annotated(path, scale=1, **seen)
    assert iio.imread(path).shape == (3, 48, 48 + 8 + 48, 3)
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


GROUPS = np.zeros((3, 4), "int32")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"groups": GROUPS[:2]},
            "`groups` must be int .*shape .2, 4., .* 3 fr",
        ),
        ({"groups": GROUPS + 0.5}, "`groups` must be int .*dtype float64"),
        ({"groups": GROUPS + 4}, "from 0 to N - 1.*Pass those of `model.kept"),
        ({"groups": GROUPS - 1}, "from 0 to N - 1"),
        ({"groups": GROUPS[:, :3]}, "must fill a grid.*N=3, patch_grid=.1, 1."),
        ({"groups": GROUPS, "patch_grid": (3, 2)}, "N=4, patch_grid=.3, 2."),
    ],
)
def test_wrong_groups(change, message):
    with pytest.raises(ValueError, match=message):
        visualize.plot_kept(FRAMES, KEPT, **change)


def test_scores_need_a_row_of_blocks():
    with pytest.raises(ValueError, match="`scores` need .* rows ToMe. Leave"):
        visualize.plot_comparison(FRAMES, {"ToMe": GROUPS}, SCORES)


def test_variants_must_be_there_and_alike():
    with pytest.raises(ValueError, match=r"one shape.*shapes=\[\], max"):
        visualize.plot_comparison(FRAMES, {})
    names = {"a": KEPT, "b": KEPT[:, :4]}
    with pytest.raises(ValueError, match=r"one shape.*\(3, 9\), \(3, 4\)"):
        visualize.plot_comparison(FRAMES, names)
