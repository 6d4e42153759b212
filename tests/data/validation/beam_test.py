"""Measuring by Apache Beam: in several processes, with bad videos among."""

import json
import os
import pathlib
import shutil

import pytest

from keras_stts.data import __main__ as command
from keras_stts.data.validation import beam
from keras_stts.data.validation import environment
from keras_stts.data.validation.facts import measure_all
from tests.data.reading_test import write
from tests.data.validation.validate_test import installed  # noqa: F401

pytestmark = pytest.mark.once
PROCESSES = (
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
)


def spoilt(folder, whole):
    """Paths of files that are no videos, each in another way."""
    data = whole.read_bytes()
    contents = {
        "empty.mp4": b"",
        "cut.mp4": data[: len(data) // 2],
        "zeros.mp4": bytes(len(data)),
        "text.mp4": b"no video\n" * 99,
        "list.m3u8": f"#EXTM3U\n{whole}\n".encode(),
        "head.mp4": data[:40] + bytes(2**16),
        "backwards.mp4": data[::-1],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    names = [*contents, "folder.mp4", "pipe.mp4", "none.mp4"]
    return [str(folder / name) for name in names]


def test_bad_videos_harm_nobody_in_many_processes(tmp_path):
    whole = [
        write(tmp_path / f"{i}.mp4", "-c:v libx264", seconds=1, rate=10 + i)
        for i in range(3)
    ]
    good = []
    for i in range(30):
        good.append(tmp_path / f"copy {i} ü.mp4")
        shutil.copy(whole[i % 3], good[-1])
    bad = spoilt(tmp_path, whole[0])
    videos = [v for pair in zip(map(str, good), bad * 3) for v in pair]
    path = tmp_path / "facts.jsonl"
    facts = measure_all(
        dict.fromkeys(videos, 2.0), path, 1, 60.0, pipeline_options=PROCESSES
    )
    assert {v for v in facts if "error" in facts[v]} == set(bad)
    for video in bad:
        assert pathlib.Path(video).name in facts[video]["error"]
    rates = [facts[str(video)]["fps"] for video in good]
    assert rates == [10, 11, 12] * 10
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["video"] for line in lines) == sorted(set(videos))
    assert not (tmp_path / ".facts").exists()


def test_what_workers_had_written_is_kept(tmp_path, monkeypatch):
    video = str(write(tmp_path / "a.mp4", "-c:v libx264", seconds=1))
    path = tmp_path / "facts.jsonl"
    wanted = measure_all({video: 2.0}, path)
    # As a run leaves it that was killed before it looked.
    (tmp_path / ".facts").mkdir()
    text = path.read_text()
    path.write_text("")
    (tmp_path / ".facts" / "facts-0.jsonl").write_text(text + text[:40])
    monkeypatch.setattr(environment, "python", lambda: "none")
    assert measure_all({video: 2.0}, path) == wanted
    assert path.read_text() == text and not (tmp_path / ".facts").exists()


def test_at_addresses(tmp_path):
    system = pytest.importorskip("fsspec").filesystem("memory")
    path = write(tmp_path / "a.mp4", "-c:v libx264", seconds=1)
    system.pipe("/clips/a.mp4", path.read_bytes())
    videos = {"memory://clips/a.mp4": 2.0, "memory://clips/no.mp4": 2.0}
    videos[str(path)] = 2.0
    for _ in range(2):
        facts = measure_all(videos, "memory://facts/facts.jsonl")
        assert facts["memory://clips/a.mp4"] == facts[str(path)]
        assert "there is no file" in facts["memory://clips/no.mp4"]["error"]
    lines = system.cat("/facts/facts.jsonl").decode().splitlines()
    assert len(lines) == 4  # What cannot be read is tried again.


def test_what_beam_does_not_understand(tmp_path):
    video = str(write(tmp_path / "a.mp4", "-c:v libx264", seconds=1))
    options = ["--runner=NoRunner"]
    with pytest.raises(RuntimeError, match="NoRunner"):
        measure_all(
            {video: 2.0}, tmp_path / "f.jsonl", pipeline_options=options
        )


def test_runners_of_this_machine():
    assert beam.is_local([])
    assert beam.is_local(["--direct_num_workers=2"])
    assert beam.is_local(["--runner", "DirectRunner"])
    path = "apache_beam.runners.direct.direct_runner.DirectRunner"
    assert beam.is_local([f"--runner={path}"])
    for name in ("FlinkRunner", "SparkRunner", "DataflowRunner"):
        assert not beam.is_local([f"--runner={name}"])
        assert not beam.is_local(["--x", "--runner", name, "--y"])


def test_a_runner_by_its_own_option(monkeypatch, capsys):
    given = []

    def validate(**options):
        given.append(options["pipeline_options"])
        raise ValueError("enough")

    monkeypatch.setattr(command, "validate", validate)
    more = "--pipeline-option=--parallelism=2"
    command.main(["validate", "a.jsonl", "--runner", "FlinkRunner", more])
    command.main(["validate", "a.jsonl"])
    assert given == [["--runner=FlinkRunner", "--parallelism=2"], []]
