"""The pictures of the pages, made of `shapes_tiny` and a clip.

    python docs/site/pictures.py

writes them into docs/pictures/.
"""

import pathlib
import tempfile
import warnings

import keras
import numpy as np

import keras_stts
from keras_stts.pictures.drawing import GREY
from keras_stts.pictures.drawing import INK
from keras_stts.pictures.drawing import lines
from keras_stts.pictures.drawing import new_figure
from keras_stts.pictures.drawing import plain

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "pictures"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
RATIOS = (0.3, 0.5, 0.8)


def load(**settings):
    return keras_stts.VideoVLM.from_preset("shapes_tiny", **settings)


def save(figure, name, dpi=110):
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=dpi)


def kept_of_a_clip():
    """The picture of the page Start."""
    clip = keras_stts.datasets.shapes.render("test", 0)
    kept = load(prune_ratio=0.5).kept_blocks(clip.frames, fps=1.0)
    names = ("timestamps", "grid")
    figure = keras_stts.visualize.plot_kept(
        kept["frames"],
        kept["kept"],
        kept["scores"],
        **{name: kept[name] for name in names},
    )
    save(figure, "kept", dpi=64)  # Noise is large.


def blocks_of_a_frame():
    """Patches, blocks, and what stays of one frame."""
    backbone = load().backbone
    clip = keras_stts.datasets.shapes.render("test", 0)
    kept = load(prune_ratio=0.5).kept_blocks(clip.frames)
    number = 3
    frame, size = clip.frames[number], len(clip.frames[number])
    patch = size // backbone.vision_encoder.grid[0]
    block = size // kept["grid"][0]
    dimmed = keras_stts.visualize.overlay(
        clip.frames, kept["kept"], kept["grid"]
    )[number]
    figure = new_figure((9, 3.4))
    axes = figure.subplots(1, 3)
    left = int(kept["kept"][number].sum())
    parts = (
        (frame, patch, f"{(size // patch) ** 2} patches", "whitesmoke", 0.5),
        (frame, block, f"{(size // block) ** 2} blocks of 3×3", ORANGE, 1.5),
        (dimmed, block, f"{left} blocks stay, {left} tokens", ORANGE, 1.5),
    )
    for axis, (image, step, title, color, width) in zip(axes, parts):
        axis.imshow(image, extent=(0, size, size, 0))
        for at in range(0, size + 1, step):
            axis.axhline(at, color=color, linewidth=width)
            axis.axvline(at, color=color, linewidth=width)
        axis.set_title(title, color=INK)
        axis.set_axis_off()
    save(figure, "blocks")


def budgets():
    """Blocks that each frame keeps, of two clips at three ratios."""
    clips = [keras_stts.datasets.shapes.render("test", i) for i in (0, 3)]
    figure = new_figure((9, 2.8))
    for axis, ratio in zip(figure.subplots(1, 3, sharey=True), RATIOS):
        model = load(prune_ratio=ratio)
        for i, (clip, color) in enumerate(zip(clips, (BLUE, ORANGE))):
            counts = model.kept_blocks(clip.frames)["kept"].sum(axis=1)
            places = np.arange(len(counts)) + 0.4 * i
            label = f"clip {'AB'[i]}"
            axis.bar(places, counts, 0.4, color=color, label=label)
        axis.set_title(f"{ratio:.0%} pruned: {counts.sum()} stay", color=INK)
        axis.set_xticks(np.arange(len(counts)) + 0.2, range(len(counts)))
        axis.set_xlabel("frame", color=GREY)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_yticks(range(0, 17, 4))
    figure.axes[0].set_ylabel("blocks that stay", color=GREY)
    figure.axes[0].legend(frameon=False)
    save(figure, "budgets")


def shares_at_each_layer(method):
    """Percent of the tokens at each layer of vision and language."""
    model = load(pruning=method)
    tower = model.backbone.vision_encoder
    vision, text = len(tower.blocks), len(model.backbone.transformer_layers)
    if model.backbone.language_pruning is not None:
        method, grid = model.backbone.language_pruning, tower.block_grid
        total = model.backbone.num_frames * model.backbone.num_blocks
        first, *counts = method.counts(total, grid)
        shares = [100.0] * (vision + text)
        for stage, count in zip(method.stages, counts):
            for layer in range(vision + stage.layer, vision + text):
                shares[layer] = 100 * count / first
        return shares
    pruning = model.backbone.pruning
    if isinstance(pruning, keras_stts.pruning.Merging):
        patches = tower.grid[0] * tower.grid[1]
        merged = keras_stts.ops.merge_schedule(patches, vision, pruning.ratio)
        left = 1 - np.cumsum([0, *merged])[:vision] / patches
        return [*(100 * left), *[100.0] * text]
    first = vision
    if pruning.place == "vision_encoder":
        first = pruning.layer + 2  # The next one still sees whole frames.
    left = 100 * (1 - pruning.ratio)
    return [100.0] * first + [left] * (vision + text - first)


def places():
    """Where methods take tokens out."""
    methods = {
        "stts, frame_similarity, random": ("stts", BLUE, "-"),
        "evs, vidcom2": ("evs", ORANGE, "--"),
        "tome": ("tome", GREEN, "-."),
        "feather": (keras_stts.pruning.Feather(layers=(1, 2)), PURPLE, ":"),
    }
    figure = new_figure((9, 3.2))
    axis = figure.subplots()
    for name, (method, color, style) in methods.items():
        shares = shares_at_each_layer(method)
        axis.step(
            np.arange(len(shares) + 1),
            [*shares, shares[-1]],
            where="post",
            color=color,
            linestyle=style,
            linewidth=2.5,
            label=name,
        )
    axis.axvline(6, color=GREY, linewidth=1)
    names = [f"vision {i}" for i in range(6)]
    names += [f"language {i}" for i in range(len(shares) - 6)]
    axis.set_xticks(np.arange(len(shares)) + 0.5, names, size=8)
    axis.set_ylim(0, 105)
    axis.set_ylabel("tokens of a layer, %", color=GREY)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower left")
    save(figure, "places")


def packing():
    """Frames in groups of one length each, and the padding in them."""
    clip = keras_stts.datasets.shapes.render("test", 0, num_frames=16)
    model = load(prune_ratio=0.5, num_frames=16)
    kept = model.kept_blocks(clip.frames)["kept"]
    counts = kept.sum(axis=1)
    num_frames, num_blocks = kept.shape
    groups = keras_stts.ops.plan_groups(num_frames, num_blocks, kept.sum())
    ranked = [0, *(1 + np.argsort(-counts[1:], kind="stable"))]
    figure = new_figure((9, 3.6))
    axis, row = figure.subplots(), 0
    for i, (size, cap) in enumerate(groups):
        for frame in ranked[row : row + size]:
            padding = cap - counts[frame]
            axis.barh(row, counts[frame], color=(BLUE, ORANGE)[i % 2])
            axis.barh(
                row,
                padding,
                left=counts[frame],
                color="white",
                edgecolor=GREY,
                hatch="////",
                linewidth=0.5,
            )
            row += 1
        axis.axhline(row - 0.5, color=GREY, linewidth=0.8)
    left = ranked[:row]
    axis.set_yticks(range(row), [f"frame {frame}" for frame in left], size=8)
    axis.invert_yaxis()
    slots = sum(size * cap for size, cap in groups)
    axis.set_title(
        f"{kept.sum()} kept blocks of {kept.size}: {len(groups)} groups of "
        f"frames, {slots} slots",
        color=INK,
    )
    axis.set_xlabel("blocks (hatched: padding, in attention only)", color=GREY)
    axis.spines[["top", "right"]].set_visible(False)
    save(figure, "packing")


class Losses(keras.callbacks.Callback):
    """The auxiliary loss of each step; `fit` shows the mean of an epoch."""

    def __init__(self):
        super().__init__()
        self.means, self.values = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append((batch + 1) * logs["aux_loss"])
        before = self.means[-2] if batch else 0.0
        self.values.append(self.means[-1] - before)


def scorer_from_nothing(folder, rows, rate):
    """The auxiliary loss of each step, and what is kept afterwards."""
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The scorer is untrained: so it is.
        model = keras_stts.VideoVLM.from_preset(
            folder,
            pruning="stts",
            prune_ratio=0.5,
            trainable_parts=["scorer"],
        )
    model.compile(optimizer=keras_stts.optimizers.PartwiseAdamW(rate))
    losses = Losses()
    names = {"videos": "video", "prompts": "question", "responses": "answer"}
    data = {name: [row[key] for row in rows] for name, key in names.items()}
    model.fit(data, batch_size=16, epochs=2, callbacks=[losses], verbose=0)
    test = keras_stts.datasets.shapes.render("test", 0)
    return losses.values, model.kept_blocks(test.frames, fps=1.0)


def scorer_that_learns():
    """A scorer that learns, and one whose rate is too high."""
    with tempfile.TemporaryDirectory() as folder:
        rows = keras_stts.datasets.shapes.generate(folder, "train", 100)
        preset = f"{folder}/preset"
        keras_stts.VideoVLM.from_preset(
            "shapes_tiny_qwen3vl", pruning=None
        ).save_to_preset(preset)
        runs = {
            f"rate {rate:g}: {what}": scorer_from_nothing(preset, rows, rate)
            for rate, what in ((1e-4, "learns"), (2e-3, "has died"))
        }
    figure = new_figure((9, 3.6))
    axis = figure.subplots()
    for (name, (losses, _)), style in zip(runs.items(), lines()):
        axis.plot(losses, label=name, linewidth=2.5, **{**style, "marker": ""})
    plain(axis, "step of 16 questions", "aux_loss")
    axis.set_ylim(0, None)
    axis.legend(frameon=False)
    save(figure, "aux_loss")
    found = {name: kept for name, (_, kept) in runs.items()}
    first = next(iter(found.values()))
    figure = keras_stts.visualize.plot_comparison(
        first["frames"],
        {name: kept["kept"] for name, kept in found.items()},
        timestamps=first["timestamps"],
        grid=first["grid"],
    )
    save(figure, "scorers", dpi=64)


def main():
    kept_of_a_clip()
    blocks_of_a_frame()
    budgets()
    places()
    packing()
    scorer_that_learns()


if __name__ == "__main__":
    main()
