"""Readers in processes of their own, and files that kill them."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from keras_stts.data import DecodeError
from keras_stts.data import DecodePool
from keras_stts.data import read_video
from keras_stts.data import workers
from tests.data.reading_test import write

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return write(folder / "a.mp4", "-c:v libx264", seconds=2)


@pytest.fixture(scope="module")
def pool():
    with DecodePool(num_workers=2) as pool:
        yield pool


def children():
    """Process ids of the readers that this process has started."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
            stat = (process / "stat").read_text()
        except OSError:  # It ended meanwhile.
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        if parent == os.getpid() and "_worker.py" in command:
            found.append(int(process.name))
    return found


def test_the_same_as_in_this_process(pool, clip):
    wanted = read_video(clip, 3, size=20)
    futures = [pool.submit(clip, 3, size=20) for _ in range(8)]
    for future in futures:
        frames, times = future.result()
        np.testing.assert_array_equal(frames, wanted[0])
        np.testing.assert_array_equal(times, wanted[1])
    frames, _ = pool.submit(str(clip).encode(), num_frames=2).result()
    assert len(frames) == 2


def test_errors_name_the_video(pool, clip, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        pool.submit("none.mp4", 3).result()
    (tmp_path / "b.mp4").write_bytes(clip.read_bytes()[:2000])
    with pytest.raises(DecodeError, match="b.mp4"):
        pool.submit(tmp_path / "b.mp4", 3).result()
    assert len(pool.submit(clip, 3).result()[0]) == 3


def test_workers_start_without_keras(pool, clip):
    pool.submit(clip, 3).result()
    for pid in children():
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
        assert "torch" not in maps and "tensorflow" not in maps
        assert "jaxlib" not in maps


def test_a_killed_worker_is_replaced(clip):
    before = set(children())
    with DecodePool(num_workers=1) as pool:
        pool.submit(clip, 3).result()
        (worker,) = set(children()) - before
        os.kill(worker, signal.SIGSTOP)
        future = pool.submit(clip, 3)
        time.sleep(0.2)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(DecodeError, match="made the reader crash"):
            future.result()
        assert len(pool.submit(clip, 3).result()[0]) == 3
    assert set(children()) == before


def test_a_video_that_takes_too_long_is_given_up(clip):
    before = set(children())
    with DecodePool(num_workers=1) as pool:
        pool.submit(clip, 3).result()
        (worker,) = set(children()) - before
        os.kill(worker, signal.SIGSTOP)
        # Not while a process starts, which may take as long.
        pool.time_limit = 0.5
        with pytest.raises(
            DecodeError, match="a.mp4', which took more than 0.5"
        ):
            pool.submit(clip, 3).result()
        pool.time_limit = 60.0
        assert len(pool.submit(clip, 3).result()[0]) == 3
    assert set(children()) == before


def test_an_interrupt_harms_no_video(clip):
    with DecodePool(num_workers=1) as pool:
        pool.submit(clip, 3).result()
        future = pool.submit(clip, 3)
        for worker in children():
            os.kill(worker, signal.SIGINT)
        assert len(future.result()[0]) == 3


def test_memory_is_bounded(tmp_path):
    path = write(tmp_path / "a.mkv", "-c:v ffv1", size="2048x2048", seconds=1)
    with DecodePool(num_workers=1, memory_limit=150 * 2**20) as pool:
        with pytest.raises(DecodeError, match="a.mkv"):
            pool.submit(path, 25, max_fps=25.0).result()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits it.")
@pytest.mark.parametrize("mebibytes", [1, 5, 20])
def test_want_of_memory_is_not_called_damage(clip, mebibytes):
    if mebibytes > 1 and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("Decoding in one thread needs no more.")
    with DecodePool(num_workers=1, memory_limit=mebibytes * 2**20) as pool:
        with pytest.raises(DecodeError, match="memory") as error:
            pool.submit(clip, 3).result()
    assert "damaged" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits it.")
def test_many_videos_need_no_more_memory_than_one(clip):
    with DecodePool(num_workers=1, memory_limit=300 * 2**20) as pool:
        futures = [pool.submit(clip, 3) for _ in range(20)]
        assert all(len(future.result()[0]) == 3 for future in futures)


def test_closing_gives_up(clip):
    before = set(children())
    pool = DecodePool(num_workers=1)
    pool.submit(clip, 3).result()
    (worker,) = set(children()) - before
    os.kill(worker, signal.SIGSTOP)
    futures = [pool.submit(clip, 3), pool.submit(clip, 3)]
    time.sleep(0.2)
    closing = threading.Thread(target=pool.close)
    closing.start()
    closing.join(timeout=20)
    assert not closing.is_alive()
    assert set(children()) == before
    assert all(future.done() for future in futures)


# A reader that never ends, and who asks it.
HANGING = """
import runpy, sys, time
main = runpy.run_path(sys.argv[1])["main"]
hang = {"frames": lambda: time.sleep(600)}
main.__globals__["import_readers"] = lambda: (hang, str)
sys.argv[1] = "4294967296"
main()
"""
ASKING = """
import pickle, struct, subprocess, sys, time
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
worker = subprocess.Popen(command, stdin=subprocess.PIPE)
task = pickle.dumps(("frames", {}))
worker.stdin.write(struct.pack("<Q", len(task)) + task)
worker.stdin.flush()
print(worker.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_reader_that_hangs_ends_with_who_started_it():
    command = [sys.executable, "-c", ASKING, HANGING, str(workers.SCRIPT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        worker = pathlib.Path(
            "/proc", process.stdout.readline().decode().strip()
        )
        time.sleep(2)
        assert worker.exists()
        process.kill()
    deadline = time.monotonic() + 60
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not worker.exists()


@pytest.mark.parametrize("name", ["num_workers", "time_limit", "memory_limit"])
def test_numbers_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be positive"):
        DecodePool(**{name: 0})
