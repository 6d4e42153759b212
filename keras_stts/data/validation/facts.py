"""Measurements of videos, kept in a file as they are made."""

import itertools
import json
import os
import pathlib
import queue
import sys

import tqdm

from keras_stts.data.measure import files_of
from keras_stts.data.workers import DecodePool


def measure_all(videos, path, num_workers=2, time_limit=60.0):
    """Measure videos, but for those measured already.

    Each one is a line of a JSONL file as soon as it is done, so that a run
    that was ended goes on where it was. A file that has changed since, and one
    that could not be read, is measured again.

    Args:
        videos: Dict of absolute path to frames a second, which only folders of
            images need.
        path: Path of the JSONL file.
        num_workers: Int. Processes that measure.
        time_limit: Number. Seconds that a video may take.

    Returns:
        Dict of path to what `measure_video` returns, or to `{"error": text}`.
    """
    known = _load(path)
    stamps = {video: _stamp(video, fps) for video, fps in videos.items()}
    facts = {
        video: known[video]["facts"]
        for video, stamp in stamps.items()
        if video in known and known[video]["stamp"] == stamp
    }
    todo = [(video, videos[video]) for video in videos if video not in facts]
    progress = tqdm.tqdm(
        desc="Measuring videos",
        total=len(videos),
        initial=len(facts),
        unit="video",
        file=sys.stderr,
    )
    with (
        progress,
        open(path, "a", encoding="utf-8") as file,
        DecodePool(num_workers, time_limit) as pool,
    ):
        for video, future in _measured(pool, todo, 4 * num_workers):
            facts[video] = _outcome(future)
            line = {"video": video, "stamp": stamps[video]}
            line["facts"] = facts[video]
            file.write(json.dumps(line) + "\n")
            file.flush()
            progress.update()
    return facts


def _load(path):
    """Dict of path to the last whole line about it, errors left out.

    A last line that a killed run did not finish is cut off.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    lines = map(json.loads, data[:whole].splitlines())
    lines = [line for line in lines if "error" not in line["facts"]]
    return {line["video"]: line for line in lines}


def _stamp(video, fps):
    """What changes with a file; `None` if there is none."""
    try:
        files = [os.stat(file) for file in files_of(video)]
    except OSError:
        return None
    size = sum(file.st_size for file in files)
    latest = max((file.st_mtime_ns for file in files), default=0)
    return [size, latest, fps]


def _measured(pool, todo, most):
    """(path, future) of each video as it is done, `most` at a time.

    By a queue: Ctrl-C in `concurrent.futures.wait` may leave futures locked,
    and then the threads that complete them never end.
    """
    todo, done, waiting = iter(todo), queue.SimpleQueue(), {}
    while True:
        for video, fps in itertools.islice(todo, most - len(waiting)):
            future = pool.submit_facts(video, fps=fps)
            waiting[future] = video
            future.add_done_callback(done.put)
        if not waiting:
            return
        future = done.get()
        yield waiting.pop(future), future


def _outcome(future):
    try:
        return future.result()
    except (ValueError, OSError) as error:
        return {"error": str(error)}
