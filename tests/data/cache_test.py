import concurrent.futures
import errno
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest

from keras_stts.data import FrameCache

pytestmark = pytest.mark.once


def entry(seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (4, 16, 16, 3), "uint8")
    return frames, np.arange(4) / 2


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    return path


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_written_is_read(tmp_path, video):
    cache = FrameCache(tmp_path / "cache")
    key = cache.key(video, num_frames=4)
    assert cache.read(key) is None
    cache.write(key, *entry())
    same(cache.read(key), entry())
    same(FrameCache(tmp_path / "cache").read(key), entry())


def test_keys_change_with_the_file_and_the_settings(tmp_path, video):
    cache = FrameCache(tmp_path / "cache")
    keys = {cache.key(video, size=8), cache.key(video, size=9)}
    os.utime(video, (1, 1))
    keys.add(cache.key(video, size=8))
    video.write_bytes(b"longer video")
    keys.add(cache.key(video, size=8))
    assert len(keys) == 4
    assert cache.key(video, size=8) == cache.key(str(video), size=8)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_entries_are_as_good_as_none(tmp_path, video, damage):
    cache = FrameCache(tmp_path / "cache")
    key = cache.key(video)
    for place in (0.0, 0.2, 0.5, 0.9, 0.999):
        cache.write(key, *entry())
        path = next((tmp_path / "cache").glob("??/*.npz"))
        data = bytearray(path.read_bytes())
        index = int(place * len(data))
        if damage == "flip":
            data[index] ^= 0x10
        else:
            data = data[:index] if damage == "cut" else b""
        path.write_bytes(data)
        found = cache.read(key)
        if found is None:
            assert not path.exists()
        else:  # What was flipped does not count, such as a date.
            same(found, entry())


def test_the_least_used_goes_first(tmp_path, video):
    size = 4 * 16 * 16 * 3 + 1000
    cache = FrameCache(tmp_path / "cache", max_bytes=4 * size)
    keys = [cache.key(video, number=i) for i in range(6)]
    for i, key in enumerate(keys):
        cache.write(key, *entry(i))
        time.sleep(0.02)
        assert cache.read(keys[0]) is not None
    held = [cache.read(key) is not None for key in keys]
    assert held[0] and held[-1] and 2 <= sum(held) <= 4
    total = sum(p.stat().st_size for p in (tmp_path / "cache").glob("??/*"))
    assert total <= 4 * size
    big = np.zeros((40, 16, 16, 3), "uint8")
    cache.write(cache.key(video, number=7), big, np.zeros(40))
    assert cache.read(cache.key(video, number=7)) is None


def _write_for_ever(folder, video):
    cache = FrameCache(folder, max_bytes=10**6)
    while True:
        for i in range(50):
            cache.write(cache.key(video, number=i), *entry(i))


def test_several_writers_and_a_kill(tmp_path, video):
    folder = tmp_path / "cache"
    cache = FrameCache(folder, max_bytes=10**6)
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_for_ever, args=(folder, video))
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    seen, deadline = 0, time.monotonic() + 300
    while seen < 300 and time.monotonic() < deadline:
        for i in range(50):
            found = cache.read(cache.key(video, number=i))
            if found is not None:
                same(found, entry(i))
                seen += 1
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    assert seen >= 300
    for i in range(50):
        found = cache.read(cache.key(video, number=i))
        assert found is None or (found[0] == entry(i)[0]).all()
    parts = list(folder.glob("??/*.part"))
    for part in parts:
        os.utime(part, (1, 1))
    cache._room = None
    cache.write(cache.key(video, number=99), *entry())
    assert not list(folder.glob("??/*.part"))
    total = sum(p.stat().st_size for p in folder.glob("??/*.npz"))
    assert total <= 10**6


def test_sizes_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="`max_bytes` must be positive"):
        FrameCache(tmp_path, max_bytes=0)


def test_several_threads_read(tmp_path):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        _read_in_threads(tmp_path)
    finally:
        sys.setswitchinterval(interval)


def _read_in_threads(tmp_path):
    cache = FrameCache(tmp_path)
    frames, times = np.zeros((2, 4, 4, 3), "uint8"), np.arange(2.0)
    cache.write("key", frames, times)

    def read(_):
        return [cache.read("key")[1].tolist() for _ in range(100)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(read, range(8)):
            assert found == [[0.0, 1.0]] * 100


def test_a_full_disk_is_said_once(tmp_path, video, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = FrameCache(tmp_path / "cache")
    key = cache.key(video, num_frames=4)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(UserWarning, match="cache' cannot be .*No space") as seen:
        cache.write(key, *entry())
        cache.write(key, *entry())
    assert len(seen) == 1 and cache.read(key) is None
