"""Measurements, and runs that are killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

import keras_stts
from keras_stts.data.measure import measure_video
from keras_stts.data.validation.facts import measure_all
from keras_stts.datasets import shapes
from tests.data.reading_test import write

FOLDER = pathlib.Path(keras_stts.data.__file__).parent
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rows = shapes.generate(folder, "train", 24)
    return sorted({str(folder / row["video"]) for row in rows})


def measure(videos, path):
    return measure_all(dict.fromkeys(videos, 2.0), path)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video(tmp_path):
    options = "-vf lutyuv=y=235:u=128:v=128 -c:v libx264"
    path = write(tmp_path / "a.mp4", options, rate=10, seconds=3)
    facts = measure_video(path)
    assert len(facts.pop("sha256")) == 64 and facts.pop("look")
    assert facts.pop("brightness") == pytest.approx(255, abs=2)
    assert facts == {
        "seconds": 3.0,
        "fps": 10.0,
        "width": 64,
        "height": 48,
        "frames": 30,
        "bytes": path.stat().st_size,
    }


def test_pictures_and_folders(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        PIL.Image.fromarray(rng.integers(0, 256, (20, 30, 3), "uint8"))
        for _ in range(6)
    ]
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, image in enumerate(images):
        image.save(folder / f"{i}.png")
    facts = measure_video(folder, fps=4.0)
    assert (facts["seconds"], facts["fps"], facts["frames"]) == (1.5, 4.0, 6)
    assert (facts["width"], facts["height"]) == (30, 20)
    path = tmp_path / "a.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    facts = measure_video(path)
    assert (facts["seconds"], facts["fps"], facts["frames"]) == (0.6, 10.0, 6)
    (tmp_path / "again").mkdir()
    for i, image in enumerate(images):
        image.save(tmp_path / "again" / f"{i}.png")
    again = measure_video(tmp_path / "again", fps=4.0)
    assert again["sha256"] == measure_video(folder, fps=4.0)["sha256"]


def test_only_what_is_new_is_measured(clips, tmp_path):
    path, copy = tmp_path / "facts.jsonl", tmp_path / "copy.mp4"
    first = measure(clips[:2], path)
    copy.write_bytes(b"no video")
    measure([*clips[:3], str(copy)], path)
    assert {line["video"] for line in lines(path)[:2]} == set(clips[:2])
    assert {line["video"] for line in lines(path)[2:]} == {clips[2], str(copy)}
    with open(clips[0], "rb") as file:
        copy.write_bytes(file.read())
    facts = measure([*clips[:3], str(copy)], path)
    assert len(lines(path)) == 5 and lines(path)[-1]["video"] == str(copy)
    assert facts[clips[0]] == first[clips[0]] == facts[str(copy)]


def test_unreadable_videos_are_errors_that_are_tried_again(clips, tmp_path):
    path, cut = tmp_path / "facts.jsonl", tmp_path / "cut.mp4"
    with open(clips[0], "rb") as file:
        cut.write_bytes(file.read(20000))
    none = str(tmp_path / "none.mp4")
    for count in (3, 5):
        facts = measure([clips[0], none, str(cut)], path)
        assert "which does not exist" in facts[none]["error"]
        assert "cut.mp4" in facts[str(cut)]["error"]
        assert "error" not in facts[clips[0]]
        assert len(lines(path)) == count


def test_a_line_cut_short_is_measured_again(clips, tmp_path):
    path = tmp_path / "facts.jsonl"
    wanted = measure(clips[:3], path)
    text = path.read_text()
    path.write_text(text[:-100])
    assert measure(clips[:3], path) == wanted
    assert sorted(lines(path), key=str) == sorted(
        map(json.loads, text.splitlines()), key=str
    )


# Without Keras, whose import takes longer than all else here.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
folder, path, *videos = sys.argv[1:]
sys.path.insert(0, folder)
import _worker
_worker.import_readers()
from keras_stts.data.validation.facts import measure_all
measure_all(dict.fromkeys(videos, 2.0), path, num_workers=1)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_run_goes_on(clips, tmp_path, end):
    path = tmp_path / "facts.jsonl"
    path.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, FOLDER, path, *clips],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while path.read_text().count("\n") < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, end)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -end, errors
    before = path.read_text().count("\n")
    assert 3 <= before < len(clips)
    assert len(measure(clips, path)) == len(clips)
    assert sorted(line["video"] for line in lines(path)) == clips
