"""Hundreds of damaged files: none crashes, hangs or is passed off as whole."""

import pathlib
import struct
import wave
import zlib

import numpy as np
import PIL.Image
import pytest

from keras_stts.data import DecodeError
from keras_stts.data import DecodePool
from keras_stts.data import VideoDataset
from keras_stts.data import read_video
from tests.data.reading_test import write
from tests.models import tiny

pytestmark = pytest.mark.once

FORMATS = {
    "a.mp4": "-c:v libx264 -bf 2 -g 12 -movflags faststart",
    "a.mkv": "-c:v libx264 -bf 2 -g 12",
    "a.webm": "-c:v libvpx-vp9 -g 12",
    "a.avi": "-c:v mpeg4 -g 12",
    "a.gif": "",
}
CUTS = 20
FLIPS = 20


def png_bomb(side):
    """A PNG of some hundred bytes that claims side x side pixels."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", check)
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10**6))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    return [
        write(folder / name, options, seconds=2)
        for name, options in FORMATS.items()
    ]


@pytest.fixture(scope="module")
def damaged(good, tmp_path_factory):
    """Dict of path to whether it must be noticed."""
    folder = tmp_path_factory.mktemp("damaged")
    rng = np.random.default_rng(0)
    files = {}

    def add(name, data, must_fail):
        path = folder / name
        path.write_bytes(data)
        files[path] = must_fail

    for source in good:
        data = source.read_bytes()
        for i in range(CUTS):
            # What is left out of a GIF, or of an AVI's index, may not matter.
            must = source.suffix not in (".gif", ".avi") or i < CUTS // 2
            size = int(len(data) * i / CUTS)
            add(f"cut{i}{source.name}", data[:size], must and i < CUTS - 2)
        for i in range(FLIPS):
            spoilt = bytearray(data)
            for place in rng.integers(0, len(data), 1 + i):
                spoilt[place] ^= 1 << rng.integers(8)
            add(f"flip{i}{source.name}", bytes(spoilt), False)
    whole = good[0].read_bytes()
    add("empty.mp4", b"", True)
    add("text.mp4", b"Once upon a time\n" * 500, True)
    add("zeros.mkv", bytes(10000), True)
    add("noise.webm", rng.bytes(20000), True)
    add("wrong.avi", whole, False)
    add("wrong.jpg", whole, False)
    add("bomb.png", png_bomb(60000), True)
    add("ftyp.mp4", whole[:32] + b"\xff" * 1000, True)
    add("size.mp4", b"\xff\xff\xff\xff" + whole[4:], True)
    sound = folder / "sound.mp4"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "none"))
        file.writeframes(bytes(8000))
    files[sound] = True
    for name, content in (("none", {}), ("bombs", {"1.png": png_bomb(60000)})):
        sequence = folder / name
        sequence.mkdir()
        for file, data in content.items():
            (sequence / file).write_bytes(data)
        files[sequence] = True
    mixed = folder / "mixed"
    mixed.mkdir()
    PIL.Image.fromarray(np.zeros((8, 8, 3), "uint8")).save(mixed / "1.png")
    (mixed / "2.png").write_bytes(b"not a picture")
    files[mixed] = True
    return files


@pytest.mark.filterwarnings("ignore:The video .* may be damaged")
def test_hundreds_of_damaged_files(good, damaged):
    assert len(damaged) >= 200
    options = {"num_frames": 4, "sampling": "uniform_last_frame", "size": 32}
    wanted = [read_video(path, **options) for path in good]
    failed = {}
    with DecodePool(num_workers=2, time_limit=20.0) as pool:
        futures = {path: pool.submit(path, **options) for path in damaged}
        intact = [pool.submit(path, **options) for path in good]
        for path, future in futures.items():
            try:
                frames, times = future.result()
            except (DecodeError, FileNotFoundError) as error:
                failed[path] = str(error)
                continue
            assert frames.shape == (len(times), 32, 32, 3)
            assert 1 <= len(times) <= 4 and times[0] == 0
        for (frames, times), future in zip(wanted, intact):
            np.testing.assert_array_equal(future.result()[0], frames)
            np.testing.assert_array_equal(future.result()[1], times)
    missed = [p.name for p, must in damaged.items() if must and p not in failed]
    assert not missed
    slow = [p.name for p, reason in failed.items() if "time_limit" in reason]
    assert not slow
    for path, reason in failed.items():
        assert path.name in reason


def test_all_are_reported_and_the_good_ones_learnt_from(
    good, damaged, tmp_path
):
    bad = [path for path, must in damaged.items() if must]
    rows = [
        {
            "id": pathlib.Path(path).name,
            "video": str(path),
            "prompt": "what?",
            "response": "this",
        }
        for path in bad + good
    ]
    options = {"on_error": "report", "report": tmp_path / "report.jsonl"}
    with VideoDataset(rows, tiny.preprocessor(), 16, **options) as data:
        learnt = sum(
            int(weights.any(-1).sum())
            for _, _, weights in map(data.__getitem__, range(len(data)))
        )
    assert learnt == len(good)
    left_out = {data.rows[i]["id"] for i in data.left_out}
    assert left_out == {path.name for path in bad}
    lines = (tmp_path / "report.jsonl").read_text().splitlines()
    assert len(lines) == len(bad)
