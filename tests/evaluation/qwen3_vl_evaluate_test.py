"""Models whose videos have grids of their own, asked and looked at."""

import json

import imageio.v3 as iio
import numpy as np
import pytest

import keras_stts
from keras_stts import pruning
from keras_stts.evaluation import plots
from keras_stts.visualize import plot_kept
from keras_stts.visualize import write_annotated
from tests.models import qwen3_vl
from tests.preprocessing.qwen3_vl_preprocessor_test import make

SIZES = [(8, 64, 96), (5, 96, 64), (4, 32, 160)]
BUCKETS = [(2, 8), (4, 12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos of three sizes, and a table of questions about them."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    rows = []
    for i, size in enumerate(SIZES):
        frames = rng.integers(0, 256, (*size, 3), dtype="uint8")
        iio.imwrite(folder / f"{i}.mp4", frames, plugin="pyav", codec="h264",
                    fps=2)  # fmt: skip
        rows.append(
            {
                "video": f"{i}.mp4",
                "question": "what?",
                "choices": ["a", "b"],
                "answer": "A",
            }
        )
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def model(method):
    # No limit makes the videos smaller.
    limits = {"min_pixels": 1024, "max_pixels": 10**6}
    preprocessor = make(
        limits,
        buckets=BUCKETS,
        num_images=0,
        num_image_blocks=None,
        prompt_mask=isinstance(method, pruning.LanguagePruning),
        sequence_length=48,
    )
    # One layer of text is too few to prune in.
    shallow = not isinstance(method, pruning.LanguagePruning)
    return qwen3_vl.model(preprocessor, pruning=method, shallow=shallow)


@pytest.mark.parametrize(
    "method", [None, pruning.STTS(0.5, layer=0), pruning.FastV(1, 0.5)]
)
def test_evaluate(folder, method, tmp_path):
    asked = model(method)
    result = keras_stts.evaluate(
        asked,
        folder / "table.jsonl",
        batch_size=1,
        output=tmp_path,
        progress=False,
    )
    assert result["n"] == 3 and result["unreadable"] == 0
    (path,) = tmp_path.glob("*/predictions.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    whole = [4 * 6, 3 * 6, 2 * 5]
    for row, number, (frames, blocks) in zip(
        rows, whole, [BUCKETS[1], BUCKETS[1], BUCKETS[0]]
    ):
        first = number // {24: 4, 18: 3, 10: 2}[number]
        left = number - number // 2
        if isinstance(method, pruning.STTS):
            assert row["vision_tokens"] == max(left, first)
        else:
            assert row["vision_tokens"] == number
        assert (row["num_frames"], row["num_blocks"]) == (frames, blocks)
        if method is not None:
            assert len(row["kept_by_row"]) == len(row["kept_by_time"]) == 10
            share = row["vision_tokens_left"] / number
            assert np.mean(row["kept_by_row"]) == pytest.approx(share, abs=1e-3)
    flops = [
        asked.flops(
            row["num_frames"],
            num_blocks=row["num_blocks"],
            text_length=row["text_length"],
        )["total"]
        for row in rows
    ]
    assert result["flops"] == pytest.approx(np.mean(flops))
    assert flops[2] < 0.6 * flops[0]
    if method is not None:
        plots.plot_kept_by_row([result])


def test_another_number_of_frames(folder):
    asked = model(None)
    results = keras_stts.evaluate(
        asked, folder / "table.jsonl", num_frames=[4, 8], progress=False
    )
    assert [r["num_frames"] for r in results] == [4, 8]
    assert results[0]["vision_tokens"] < results[1]["vision_tokens"]
    with pytest.raises(ValueError, match="sampled by its own rule"):
        keras_stts.evaluate(
            asked, folder / "table.jsonl", sampling="all", progress=False
        )


def test_what_is_kept_is_drawn(folder, tmp_path):
    asked = model(pruning.STTS(0.5, layer=0))
    for i, (frames, height, width) in enumerate(SIZES):
        found = asked.kept_blocks(folder / f"{i}.mp4")
        grid, blocks = found["grid"], height * width // 32**2
        assert grid == (height // 32, width // 32)
        assert found["frames"].shape == (frames, height, width, 3)
        assert found["kept"].shape == found["scores"].shape == (frames, blocks)
        pairs = found["kept"][::2]
        assert pairs[0].all()  # The first frames stay.
        number = len(pairs) * blocks
        assert pairs.sum() == max(number - number // 2, blocks)
        # Two frames lie in a block.
        second = found["kept"][1::2]
        np.testing.assert_array_equal(second, pairs[: len(second)])
        plot_kept(**found)
        found.pop("timestamps")
        write_annotated(tmp_path / f"{i}.mp4", **found)


def test_what_is_merged_is_drawn(tmp_path):
    frames = np.zeros((4, 64, 96, 3), "uint8")
    frames[:, :, 64:] = 255
    frames[:, 32:, :32] = 255
    path = tmp_path / "a.mp4"
    iio.imwrite(path, frames, plugin="pyav", codec="h264", fps=2)
    found = model(pruning.ToMe(0.5)).kept_blocks(path)
    groups, own = found["groups"], np.arange(24)
    assert found["patch_grid"] == (4, 6) and groups.shape == (4, 24)
    for frame in groups:  # Named after their first patch in row order.
        assert (frame == own).sum() == len(np.unique(frame)) == 12
        assert (frame <= own).all() and (frame[frame] == frame).all()
    np.testing.assert_array_equal(groups[0], groups[1])
    # Patches of one light are merged first.
    light = found["frames"][0, 8::16, 8::16, 0].ravel() > 128
    assert (light[groups] == light).mean() > 0.7
    plot_kept(**found)


def test_benchmark_times_it(folder):
    inputs = {"videos": [str(folder / "0.mp4")], "prompts": ["what?"]}
    times = keras_stts.benchmark(model(None), inputs, repeats=1)
    assert set(times) == {"prefill", "decode"}
