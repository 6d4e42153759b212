"""Videos found again: encoded anew, and not others."""

import base64

import numpy as np
import pytest

from keras_stts.data.measure import measure_video
from keras_stts.data.validation import copies
from keras_stts.datasets import shapes
from tests.data.reading_test import write
from tests.data.video_test import ffmpeg

pytestmark = pytest.mark.once

ANEW = {
    "crf35.mp4": "-c:v libx264 -crf 35",
    "half.mp4": "-vf scale=iw/2:ih/2 -c:v libx264",
    "vp9.webm": "-c:v libvpx-vp9 -b:v 200k",
    "mpeg4.avi": "-c:v mpeg4 -q:v 10",
    "same.mkv": "-c copy",
}
SOURCES = ("testsrc", "testsrc2", "smptebars")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    options = "-t 3 -c:v libx264 -pix_fmt yuv420p"
    paths = []
    for name in SOURCES:
        text = f"{name}=size=320x240:rate=25"
        path = folder / f"{name}.mp4"
        ffmpeg("-f", "lavfi", "-i", text, *options.split(), path)
        paths.append(path)
    clips = shapes.generate(folder, "train", 40)
    paths += sorted({folder / clip["video"] for clip in clips})
    return {path: measure_video(path) for path in paths}


def test_different_videos_do_not_look_the_same(originals):
    looks = copies.Looks()
    for path, facts in originals.items():
        assert looks.find(facts) is None
        looks.add(path, facts)


def test_encoded_anew_they_do(originals, tmp_path):
    looks = copies.Looks()
    for path, facts in originals.items():
        looks.add(path, facts)
    for path in list(originals)[: len(SOURCES) + 1]:
        for name, options in ANEW.items():
            copy = ffmpeg("-y", "-i", path, *options.split(), tmp_path / name)
            facts = measure_video(copy)
            assert facts["sha256"] != originals[path]["sha256"]
            assert looks.find(facts) == path, (path, name)


def test_another_action_in_the_same_scene_looks_different(tmp_path):
    looks, facts = copies.Looks(), []
    for i, x in enumerate(("40*t", "280-40*t")):
        path = ffmpeg(
            "-f", "lavfi", "-i", "smptebars=size=320x240:rate=10:duration=6",
            "-f", "lavfi", "-i", "color=gray:size=24x24:rate=10:duration=6",
            "-filter_complex", f"[0][1]overlay=x={x}:y=100", "-c:v", "libx264",
            tmp_path / f"{i}.mp4",
        )  # fmt: skip
        facts.append(measure_video(path))
    looks.add("a", facts[0])
    assert looks.find(facts[1]) is None and looks.find(facts[0]) == "a"


def test_plain_videos_are_not_compared(tmp_path):
    black = write(tmp_path / "a.mp4", "-c:v libx264", source="color")
    looks = copies.Looks()
    looks.add("a", measure_video(black))
    assert looks.find(measure_video(black)) is None


def test_looking_up_finds_what_comparing_all_finds():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (60, 8, 64))
    noise = rng.integers(-12, 13, (60, 1, 1)) * rng.integers(0, 2, base.shape)
    grey = np.clip(np.concatenate([base, base + noise]), 0, 255)
    facts = [
        {
            "look": base64.b64encode(each.astype("uint8").tobytes()).decode(),
            "seconds": 1.0,
        }
        for each in grey
    ]
    looks = copies.Looks()
    for number in range(60):
        looks.add(number, facts[number])
    found = [looks.find(each) for each in facts[60:]]
    near = np.abs(grey[60:] - grey[:60]).max((1, 2)) <= 8
    assert found == [i if near[i] else None for i in range(60)]
    assert 10 < near.sum() < 50
    assert looks.find({**facts[0], "seconds": 2.0}) is None
