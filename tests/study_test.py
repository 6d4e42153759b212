"""The study of methods: what it plans, and what it makes of results."""

import functools
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

import keras_stts
from keras_stts.datasets import shapes

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import compare_methods as study  # noqa: E402
import compare_report as report  # noqa: E402
import shapes_models  # noqa: E402
import train_shapes  # noqa: E402

pytestmark = pytest.mark.once
METHODS = ("STTS", "random", "ToMe", "FastV", "FEATHER")


class Args:
    seeds, other_seeds, steps, test, processes = 3, 2, 200, 200, 2
    worlds = ("still", "moving", "long")
    family = shapes_models.Molmo2


def test_every_method_is_tried_once_at_each_ratio():
    runs = [run for run, _ in study.plan(Args)]
    assert len(set(runs)) == len(runs)
    for name in study.METHODS:
        for ratio in Args.family.studied:
            wanted = study.Run("still", name, ratio, True, 8)
            assert runs.count(wanted) == 1
    seeds = {run: number for run, number in study.plan(Args)}
    assert seeds[study.Run("still", "STTS", 0.8, True, 8)] == 3
    assert seeds[study.Run("moving", "STTS", 0.8, True, 8)] == 2


def test_ratios_are_those_that_leave_several_frames_of_a_family():
    class Qwen(Args):
        family, worlds = shapes_models.Qwen3VL, ("still",)

    runs = [run for run, _ in study.plan(Qwen)]
    assert {run.ratio for run in runs} == {0.0, 0.3, 0.5}
    for name in study.METHODS:
        for ratio in (0.3, 0.5):
            assert runs.count(study.Run("still", name, ratio, True, 8)) == 1


def test_what_is_done_is_left_out(tmp_path):
    args = Args()
    args.folder = tmp_path
    begun = study.Study(args)
    whole = study.left(begun)
    assert whole[0] == (next(study.plan(Args))[0], [0, 1, 2])
    rows = [{**run._asdict(), "seed": 1} for run, _ in whole.values()]
    begun.results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rest = study.left(begun)
    assert rest[0][1] == [0, 2]
    # What has one seed is done if that is seed 0.
    rows = [{**run._asdict(), "seed": 0} for run, _ in whole.values()]
    with open(begun.results, "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    rest = study.left(begun)
    assert all(seeds == [2] for _, seeds in rest.values())
    assert {run for run, _ in rest.values()} == {
        run for run, seeds in whole.values() if len(seeds) == 3
    }


def test_more_frames_that_cost_the_same():
    operations = {}
    for ratio in (0.0, 0.5):
        model = keras_stts.VideoVLM.from_preset(
            "shapes_tiny", load_weights=False, num_frames=16, prune_ratio=ratio
        )
        for frames in study.FRAMES_ASKED:
            operations[frames, ratio] = model.flops(frames)["total"]
    assert operations[9, 0.5] <= operations[8, 0.0]
    assert operations[14, 0.5] <= operations[12, 0.0]


@pytest.mark.parametrize("ratio", Args.family.studied)
def test_feather_drops_as_many_as_the_others(ratio):
    counts = study.feather(ratio).counts(128, (4, 4))
    assert counts[0] == 128 and counts[1] > counts[2]
    assert np.mean(counts[1:]) == pytest.approx(128 * (1 - ratio), abs=2.5)


@pytest.mark.parametrize("name", ["STTS", "EVS", "FEATHER"])
def test_settings_are_arguments_of_from_preset(name):
    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", load_weights=False, **study.settings(name, 0.5)
    )
    inside = name in study.INSIDE
    assert (model.backbone.language_pruning is not None) == inside
    assert model.backbone.prune_ratio == (0.0 if inside else 0.5)


def test_frames_are_chosen_with_their_times():
    model = keras_stts.VideoVLM.from_preset(
        "shapes_tiny", load_weights=False, num_frames=16, time_tokens=7
    )
    clips = [shapes.render("test", i, num_frames=16) for i in range(2)]
    data = train_shapes.encode(
        shapes_models.Molmo2,
        model,
        {
            "videos": np.stack([clip.frames for clip in clips]),
            "questions": [[q["question"] for q in c.questions] for c in clips],
            "answers": [[q["answer"] for q in c.questions] for c in clips],
            "informative": np.stack([clip.informative for clip in clips]),
            "labels": np.stack([clip.labels for clip in clips]),
        },
    )
    assert data["token_ids"].shape[:2] == (2, 8)
    # The prompt ends where the answer is learnt.
    ends = data["prompt_mask"].sum(-1)
    first = data["weights"].argmax(-1)
    assert (ends == first + 1).all() and first.min() > 0
    few = study.with_frames(data, model, 8)
    np.testing.assert_array_equal(few["vision"], data["vision"][:, ::2])
    shared = few["shared"]
    ids = shared["vision_token_ids"][0][shared["vision_mask"][0]]
    tokenizer = model.preprocessor.tokenizer
    assert (ids == tokenizer.image_patch_token_id).sum() == 8 * 16
    text = tokenizer.detokenize([int(i) for i in ids])
    assert " 2.0 " in text and " 14.0 " in text and " 1.0 " not in text
    some = study.SomeFrames(data, model, 8, seed=0, choices=5)
    some.batch_size = 2
    x, *_ = some[0]
    assert x["vision"].shape[1] == 8 and x["frame_mask"].shape == (2, 8)
    assert any((x["vision"][0, 0] == video[0]).all() for video in few["vision"])


@pytest.fixture
def results(tmp_path):
    """Answers that are right as often as a method is good."""
    rng = np.random.default_rng(0)
    good = {"unpruned": 0.95, "STTS": 0.95, "random": 0.5, "ToMe": 0.9}
    good |= {"FastV": 0.3, "FEATHER": 0.6}
    cases = [("unpruned", 0.0, True, "still", 8, 8)]
    cases += [
        (name, ratio, tuned, "still", 8, 8)
        for name in METHODS
        for ratio in (0.5, 0.8)
        for tuned in (True, False)
    ]
    cases += [("unpruned", 0.0, True, "moving", 8, 8)]
    cases += [
        (name, ratio, True, "long", frames, asked)
        for name, ratio in (("unpruned", 0.0), ("STTS", 0.5))
        for frames in (8, 16)
        for asked in study.FRAMES_ASKED
    ]
    rows = []
    for name, ratio, tuned, world, frames, asked in cases:
        for seed in range(3 if name == "STTS" else 2):
            right = rng.random((200, 8)) < good[name]
            rows.append(
                {
                    "world": world,
                    "method": name,
                    "ratio": ratio,
                    "tuned": tuned,
                    "frames": frames,
                    "seed": seed,
                    "ratio_asked": ratio,
                    "frames_asked": asked,
                    "right": np.packbits(right, axis=1).tobytes().hex(),
                    "kept_rows": None if not ratio else [0.1, 0.2, 0.3, 0.4],
                }
            )
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_estimates():
    values = np.array([[1, 0, 1, 1], [1, 0, 1, 0.0]])
    mean, half = report.estimate(values)
    clips = np.array([1, 0, 1, 0.5]).var(ddof=1) / 4
    seeds = np.array([0.75, 0.5]).var(ddof=1) / 2
    assert mean == 62.5
    assert half == pytest.approx(196 * (clips + seeds) ** 0.5)


def test_claims(results):
    found = report.claims(report.Results(results))
    verdicts = {row["claim"]: row["holds"] for row in found}
    assert verdicts["STTS - random, 50%"] == "yes"
    assert verdicts["unpruned - FastV as they are, 50%, where"] == "yes"
    assert verdicts["FEATHER - FastV as they are, 80%, where"] == "yes"
    name = "16 frames pruned by half - 8 whole ones, brief events"
    assert verdicts[name] != "yes"  # Equally good.
    assert report._claim("x", (1.0, 0.5), "at most", 0.7)["holds"] == "no"
    assert report._claim("x", (0.6, 0.5), "at most", 0.7)["holds"] == (
        "yes, not surely"
    )
    # What was not run is not claimed.
    assert not any("no auxiliary loss" in name for name in verdicts)


def test_tables_and_picture(results, tmp_path, capsys, monkeypatch):
    costs = functools.partial(report.costs, rounds=2, clips=2)
    monkeypatch.setattr(report, "costs", costs)

    class Study:
        args = Args()

    Study.results, Study.args.output = results, tmp_path

    def load(world, method, ratio):
        return study.open_preset(
            shapes_models.Molmo2,
            "shapes_tiny",
            world,
            **study.settings(method, ratio),
        )

    class Half(shapes_models.Molmo2):
        studied = (0.5,)

    Study.args.family = Half
    report.main(Study, METHODS[:1], METHODS[1:], study.FRAMES_ASKED[:2], load)
    printed = capsys.readouterr().out
    assert "| STTS | " in printed and "| random | " in printed
    record = json.loads((tmp_path / "compare_methods.json").read_text())
    assert record["backend"] == keras.config.backend()
    assert record["settings"]["seeds"]["still, STTS 50%, as it is"] == 3
    (row,) = [
        line
        for line in record["tables"]["Not trained through the pruning"]
        if line.startswith("| random")
    ]
    share = float(row.split("|")[2].split("±")[0])
    assert 40 < share < 60
    assert (tmp_path / "compare_methods.png").stat().st_size > 10000
